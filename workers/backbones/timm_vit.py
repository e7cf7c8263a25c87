"""Vision transformers of timm as backbones: DINO (arXiv 2104.14294) and DINOv2 (arXiv 2304.07193).

Features are the last block's keys or tokens, taken as in Neural Congealing (arXiv 2302.03956) and Deep ViT Features
(arXiv 2112.05814): overlapping patches for a finer grid, keys in dim-major order, the position embedding resampled by
the official rule.
"""

from pathlib import Path
from typing import Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import conv2d, grid_sample, interpolate

from workers.backbones.base import Backbone, check_images
from workers.backbones.weights import Facet, Weights, WeightsError, load_weights

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class TimmVit(Backbone):
    """A vision transformer that describes places by its last block."""

    def __init__(self, model: VisionTransformer, *, name: str, stride: int, facet: Facet) -> None:
        """Wrap a loaded model.

        Args:
            model: with square patches; moved to its device already.
            name: as users type it.
            stride: step between tokens in pixels; divides the patch.
            facet: `key` or `token`.

        Raises:
            ValueError: the stride does not divide the patch.
        """
        patch = int(model.patch_embed.patch_size[0])
        if stride < 1 or patch % stride:
            raise ValueError(f"stride {stride} does not divide the patch of {patch} pixels")
        self.name, self.stride, self.dim = name, stride, int(model.embed_dim)
        self.model, self.patch, self.facet = model, patch, facet

    @torch.no_grad()
    def extract(self, images: Tensor) -> Tensor:
        """Describe images; see `Backbone.extract`. Vectors are not normalised."""
        check_images(images)
        height, width = images.shape[-2:]
        cells = (round(height / self.stride), round(width / self.stride))
        fitted = interpolate(images, self._fitted_size(height, width), mode="bicubic", antialias=True)
        return self._spread(self.tokens(normalised(fitted.clamp(0, 1))), cells)

    def tokens(self, inputs: Tensor) -> Tensor:
        """Run the network on normalised pixels (N, 3, H, W); return the facet at each token, (N, C, rows, columns)."""
        rows, columns = (1 + (side - self.patch) // self.stride for side in inputs.shape[-2:])
        sequence = self._embedded(inputs, rows, columns)
        for block in self.model.blocks[:-1]:
            sequence = block(sequence)
        described = self._facet(self.model.blocks[-1], sequence)[:, self.model.num_prefix_tokens :]
        return described.transpose(1, 2).reshape(len(inputs), self.dim, rows, columns)

    def position(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Return the position embedding of the prefix (1, 0 or 1, C) and of rows x columns tokens (1, T, C)."""
        stored = _present(self.model.pos_embed, "pos_embed")
        side = int((stored.shape[1]) ** 0.5)
        prefix = stored.shape[1] - side * side
        grid = resampled_position(stored[:, prefix:], rows, columns)
        return stored[:, :prefix], grid

    def _embedded(self, inputs: Tensor, rows: int, columns: int) -> Tensor:
        """Tokens with their positions, the prefix (class token, registers) in front, ready for the first block."""
        projection = self.model.patch_embed.proj
        patches = conv2d(inputs, projection.weight, projection.bias, stride=self.stride).flatten(2).transpose(1, 2)
        prefix_position, grid_position = self.position(rows, columns)
        class_token: Tensor = _present(self.model.cls_token, "cls_token")
        prefix = [class_token + prefix_position if prefix_position.shape[1] else class_token]
        if self.model.reg_token is not None:
            prefix.append(self.model.reg_token)
        front = torch.cat(prefix, dim=1).expand(len(inputs), -1, -1)
        embedded: Tensor = self.model.norm_pre(torch.cat([front, patches + grid_position], dim=1))
        return embedded

    def _facet(self, block: nn.Module, sequence: Tensor) -> Tensor:
        if self.facet == "token":
            tokens: Tensor = self.model.norm(block(sequence))
            return tokens
        return block_keys(block, sequence)

    def _fitted_size(self, height: int, width: int) -> tuple[int, int]:
        """Nearest size in whole patches, so that the tokens cover the whole image."""
        rows, columns = (max(1, round(side / self.patch)) * self.patch for side in (height, width))
        return rows, columns

    def _spread(self, tokens: Tensor, cells: tuple[int, int]) -> Tensor:
        """Read tokens, whose centres lie half a patch inside, at the centres of equal cells over the whole image."""
        axes = []
        for count, cell_count in zip(tokens.shape[-2:], cells, strict=True):
            side = self.patch + (count - 1) * self.stride
            centres = (torch.arange(cell_count, device=tokens.device) + 0.5) * (side / cell_count)
            index = (centres - self.patch / 2) / self.stride
            axes.append((2 * index + 1) / count - 1)
        grid_y, grid_x = torch.meshgrid(axes[0], axes[1], indexing="ij")
        grid = torch.stack([grid_x, grid_y], dim=-1).expand(len(tokens), -1, -1, -1)
        return grid_sample(tokens, grid, padding_mode="border", align_corners=False)


def normalised(images: Tensor) -> Tensor:
    """Subtract ImageNet's mean from (N, 3, H, W) in [0, 1] and divide by its deviation."""
    mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _STD))
    return (images - mean) / std


def block_keys(block: nn.Module, sequence: Tensor) -> Tensor:
    """Return the keys (N, T, C) that a block's attention computes from its input; channel c = dim * heads + head."""
    attention: Any = block.attn
    norm: Any = block.norm1
    count, length, width = sequence.shape
    keys = attention.qkv(norm(sequence)).reshape(count, length, 3, attention.num_heads, -1)[:, :, 1]
    dim_major: Tensor = attention.k_norm(keys).transpose(2, 3).reshape(count, length, width)
    return dim_major


def resampled_position(grid: Tensor, rows: int, columns: int) -> Tensor:
    """Resample a square position embedding (1, T, C) to rows x columns tokens.

    Bicubic, without antialiasing, the sampling step 1 / ((rows + 0.1) / side): the rule of DINO's official code.
    """
    side = int(grid.shape[1] ** 0.5)
    if rows == columns == side:
        return grid
    maps = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    factor = ((rows + 0.1) / side, (columns + 0.1) / side)
    resized = interpolate(maps, scale_factor=factor, mode="bicubic", recompute_scale_factor=False)
    return resized[..., :rows, :columns].flatten(2).transpose(1, 2)


def _present(parameter: Tensor | None, name: str) -> Tensor:
    if parameter is None:
        raise ValueError(f"the network has no {name}; use a vision transformer with a class token and positions")
    return parameter


def load_timm_vit(weights: Weights, weights_dir: Path | None, device: torch.device) -> TimmVit:
    """Build the network and fill it with its weights; every tensor must be there and fit.

    Raises:
        WeightsError: the file is missing, damaged, or belongs to another network.
    """
    tensors = load_weights(weights, weights_dir)
    model = timm.create_model(weights.timm_model, pretrained=False, num_classes=0)
    if not isinstance(model, VisionTransformer):
        raise WeightsError(f"{weights.timm_model} is a {type(model).__name__} in this timm, not a VisionTransformer")
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"weights of {weights.backbone} do not fit {weights.timm_model}: {error}") from error
    model.eval().requires_grad_(False).to(device)
    return TimmVit(model, name=weights.backbone, stride=weights.stride, facet=weights.facet)
