"""The blocks of the warp networks: those of StyleGAN2's discriminator (arXiv 1912.04958).

Weights are drawn from N(0, 1) and used divided by the square root of their fan-in ("equalised"). An activation is
sqrt(2) * leaky_relu(x + bias, 0.2). As it is positively homogeneous, its factor, and the 1 / sqrt(2) of a residual
block, are folded into weights and biases; `*_plainly` write the same out step by step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu, linear, pad

SLOPE = 0.2
_TAPS = (1.0, 3.0, 3.0, 1.0)


def activated(x: Tensor) -> Tensor:
    """sqrt(2) * leaky_relu(x, 0.2)."""
    return math.sqrt(2) * leaky_relu(x, SLOPE)


def _low_pass(like: Tensor) -> Tensor:
    """The kernel (4, 4) of the low-pass filter, [1, 3, 3, 1] x [1, 3, 3, 1] / 64."""
    taps = torch.tensor(_TAPS, device=like.device, dtype=like.dtype) / sum(_TAPS)
    return taps.unsqueeze(1) * taps


def blurred(x: Tensor, padding: int, *, stride: int = 1) -> Tensor:
    """Low-pass filter images (N, C, H, W), zeros outside: (N, C, H + 2 padding - 3, ...) before the stride."""
    channels = x.shape[1]
    return conv2d(x, _low_pass(x).expand(channels, 1, 4, 4), padding=padding, stride=stride, groups=channels)


def blurred_plainly(x: Tensor, padding: int) -> Tensor:
    """What `blurred` computes, as a sum of shifted images."""
    kernel = _low_pass(x)
    padded = pad(x, (padding,) * 4)
    height, width = padded.shape[-2] - 3, padded.shape[-1] - 3
    shifted = [kernel[i, j] * padded[..., i : i + height, j : j + width] for i in range(4) for j in range(4)]
    return torch.stack(shifted).sum(dim=0)


def halved(x: Tensor) -> Tensor:
    """Images (N, C, H, W) at half the size, low-passed, mirrored at the edges: (N, C, H / 2, W / 2)."""
    return blurred(pad(x, (1, 1, 1, 1), mode="reflect"), 0, stride=2)


class ConvLayer(nn.Module):
    """An equalised convolution, with bias and activation or neither; with `down` low-passed and at half the size."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, down: bool = False, active: bool = True) -> None:
        """A kernel x kernel convolution from `inputs` to `outputs` channels, kernel 1 or 3."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if active else None
        self.kernel, self.down = kernel, down
        self._scale = 1 / math.sqrt(inputs * kernel * kernel)

    def forward(self, x: Tensor, share: float = 1.0) -> Tensor:
        """`share` times the layer's output."""
        factor = share * (math.sqrt(2) if self.bias is not None else 1.0)
        weight = self.weight * (factor * self._scale)
        y = self._convolved(x, weight, None if self.bias is None else self.bias * factor)
        return y if self.bias is None else leaky_relu(y, SLOPE, inplace=True)

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not self.down:
            return conv2d(x, weight, bias, padding=self.kernel // 2)
        if self.kernel == 1:
            return conv2d(blurred(x, 1, stride=2), weight, bias)
        return conv2d(blurred(x, 2), weight, bias, stride=2)

    def plainly(self, x: Tensor) -> Tensor:
        """What `forward` computes at share 1, step by step."""
        weight = self.weight * self._scale
        if self.down:
            y = conv2d(blurred_plainly(x, 2 if self.kernel == 3 else 1), weight, stride=2)
        else:
            y = conv2d(x, weight, padding=self.kernel // 2)
        return y if self.bias is None else activated(y + self.bias.view(-1, 1, 1))


class ResBlock(nn.Module):
    """Two 3 x 3 layers and a 1 x 1 skip, added and divided by sqrt(2); halves the size unless told otherwise."""

    def __init__(self, inputs: int, outputs: int, *, down: bool = True) -> None:
        """From `inputs` to `outputs` channels."""
        super().__init__()
        self.conv1 = ConvLayer(inputs, inputs, 3)
        self.conv2 = ConvLayer(inputs, outputs, 3, down=down)
        self.skip = ConvLayer(inputs, outputs, 1, down=down, active=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / 2, W / 2), or the same size."""
        share = 1 / math.sqrt(2)
        result: Tensor = self.conv2(self.conv1(x), share) + self.skip(x, share)
        return result

    def plainly(self, x: Tensor) -> Tensor:
        """What `forward` computes, step by step."""
        return (self.conv2.plainly(self.conv1.plainly(x)) + self.skip.plainly(x)) / math.sqrt(2)


class Linear(nn.Module):
    """An equalised linear layer with activation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """From `inputs` to `outputs` values."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self._scale = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) to (N, outputs)."""
        return activated(linear(x, self.weight * self._scale, self.bias))


class Convolution(nn.Module):
    """An equalised 3 x 3 convolution with bias and without activation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """From `inputs` to `outputs` channels."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self._scale = 1 / math.sqrt(inputs * 9)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W)."""
        return conv2d(x, self.weight * self._scale, self.bias, padding=1)
