"""Textual inversion: words that make a frozen diffusion model expect the pictures (Gal et al., arXiv 2208.01618)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample, interpolate, mse_loss
from torch.optim import AdamW

from workers.memory import is_out_of_memory
from workers.methods.congealing_3d.generate.draws import drawing
from workers.methods.congealing_3d.generate.guidance import noised
from workers.methods.congealing_3d.generate.networks import ViewNetworks
from workers.methods.congealing_3d.generate.options import InversionOptions
from workers.methods.features import Heartbeat
from workers.methods.training_tensors import moment_tensors, restore_moments, restore_tensors

STAGE = "inversion"
LOOK_STEPS = 25
_FIXED_DRAWS = 8
_WEIGHT_DECAY = 0.01
# Gradients of the words are small and would vanish in float16; a power of two changes nothing else.
_LOSS_SCALE = 2.0**12

Save = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""Makes a checkpoint of a phase's tensors."""


class Inversion:
    """An inversion under way.

    Attributes:
        token: (k, D) the words.
        done: steps done.
        curve: (K, 2) step, mean loss since the row before.
        fixed: (2,) float64, loss on the same draws before the first and after the last step; nan where not yet known.
        at_once: pictures that go through the networks together.
    """

    def __init__(
        self,
        networks: ViewNetworks,
        pictures: Tensor,
        masks: Tensor | None,
        options: InversionOptions,
        *,
        template: str,
        size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        """Begin with the embedding of a word.

        Args:
            networks: the frozen model.
            pictures: (N, 3, S, S) in [0, 1].
            masks: (N, 1, S, S) in [0, 1]; what lies outside takes random colours.
            options: settings.
            template: prompt, with `{}` for the words.
            size: pixels a side that the model sees.
            seed: of all that is drawn.
            device: of the networks.
        """
        self.networks, self.options, self.template, self.seed = networks, options, template, seed
        self._pictures = _resized(pictures, size).to(device)
        self._masks = None if masks is None else _resized(masks, size).to(device)
        word = networks.word(options.word).detach().to(device, torch.float32)
        self.token = nn.Parameter(word.repeat(options.vectors, 1))
        self._adam = AdamW([self.token], lr=options.rate, weight_decay=_WEIGHT_DECAY)
        self.done, self.at_once = 0, options.batch
        self.curve = torch.zeros(0, 2)
        self.fixed = torch.full((2,), torch.nan, dtype=torch.float64)
        self._window = torch.zeros(2, dtype=torch.float64, device=device)

    def run(self, pulse: Heartbeat, save: Save) -> None:
        """Learn from the present state to the end."""
        total = self.options.steps
        if self.done >= total:
            return
        pulse.stage(STAGE)
        if self.done == 0:
            self.fixed[0] = self.fixed_loss(pulse)
        while self.done < total:
            self._window += torch.stack([self.step(pulse).double(), self._window.new_ones(())])
            metrics = self._look() if self.done % LOOK_STEPS == 0 or self.done == total else {}
            if self.done == total:
                self.fixed[1] = self.fixed_loss(pulse)
            pulse.step(self.done, total, state=lambda: save(self.tensors()), **metrics)

    def step(self, pulse: Heartbeat) -> Tensor:
        """One step of AdamW; the loss before it, on the device."""
        loss = self._within_memory(lambda: self._learn(drawing(self.seed, "inversion", self.done)), pulse)
        self._adam.step()
        self.done += 1
        return loss

    @torch.no_grad()
    def fixed_loss(self, pulse: Heartbeat) -> float:
        """Mean loss of draws that are always the same."""
        return float(self._within_memory(lambda: self._loss(drawing(self.seed, "look"), _FIXED_DRAWS), pulse))

    def tensors(self) -> dict[str, Tensor]:
        """A copy of all that changes, by name."""
        kept = self._own() | {"done": torch.tensor(self.done), "curve": self.curve}
        kept |= moment_tensors(self._adam, {"token": self.token})
        return {name: tensor.detach().clone() for name, tensor in kept.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what `tensors` gave.

        Raises:
            ValueError: tensors are missing or have other shapes.
        """
        restore_tensors(self._own(), tensors, besides=("done", "curve"))
        self.done, self.curve = int(tensors["done"]), tensors["curve"].clone().cpu()
        restore_moments(self._adam, {"token": self.token}, tensors)

    def _own(self) -> dict[str, Tensor]:
        return {"token": self.token, "fixed": self.fixed, "window": self._window}

    def _learn(self, generator: torch.Generator) -> Tensor:
        self._adam.zero_grad(set_to_none=True)
        loss = self._loss(generator, self.options.batch)
        gradient = cast(Tensor, self.token.grad)
        gradient /= _LOSS_SCALE
        return loss

    def _loss(self, generator: torch.Generator, count: int) -> Tensor:
        """Mean loss () of `count` draws; where gradients are on, those of the words are added up."""
        rgb = self._augmented(count, generator)
        times = torch.randint(len(self.networks.alphas_cumprod), (count,), generator=generator).to(rgb.device)
        total = torch.zeros((), device=rgb.device)
        for start in range(0, count, self.at_once):
            rows = slice(start, start + self.at_once)
            loss = self._denoising_loss(rgb[rows], times[rows], generator) * (len(rgb[rows]) / count)
            if loss.requires_grad:
                torch.autograd.backward(loss * _LOSS_SCALE)
            total += loss.detach()
        return total

    def _denoising_loss(self, rgb: Tensor, times: Tensor, generator: torch.Generator) -> Tensor:
        with torch.no_grad():
            latents = self.networks.encode(rgb, generator).float()
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        left = self.networks.alphas_cumprod.to(latents)[times].view(-1, 1, 1, 1)
        noisy = noised(latents, noise, left)
        text = self.networks.text_with(self.token, self.template).expand(len(rgb), -1, -1)
        return mse_loss(self.networks.noise(noisy, times, text, None, 1), noise)

    def _augmented(self, count: int, generator: torch.Generator) -> Tensor:
        """Some of the pictures (count, 3, s, s), cropped here and there, on plain colours where masks are known."""
        chosen = torch.randint(len(self._pictures), (count,), generator=generator)
        numbers = (2 * torch.rand(count, 3, generator=generator) - 1) * self.options.jitter
        colours = torch.rand(count, 3, 1, 1, generator=generator).to(self._pictures.device)
        scale, shift = 1 + numbers[:, :1], 2 * numbers[:, 1:]
        matrices = torch.cat([torch.eye(2).expand(count, 2, 2) * scale[..., None], shift[..., None]], dim=-1)
        pictures = self._pictures[chosen]
        grid = affine_grid(matrices, list(pictures.shape), align_corners=False).to(pictures.device)
        rgb = grid_sample(pictures, grid, padding_mode="border", align_corners=False)
        if self._masks is None:
            return rgb
        mask = grid_sample(self._masks[chosen], grid, padding_mode="zeros", align_corners=False)
        return mask * rgb + (1 - mask) * colours

    def _look(self) -> dict[str, float]:
        total, count = map(float, self._window.tolist())
        self._window.zero_()
        if not math.isfinite(total):
            raise ArithmeticError(
                f"the loss is no longer finite at step {self.done} of the {STAGE} stage; use a smaller learning rate"
            )
        self.curve = torch.cat([self.curve, torch.tensor([[float(self.done), total / count]])])
        return {"loss": total / count}

    def _within_memory(self, work: Callable[[], Tensor], pulse: Heartbeat) -> Tensor:
        """Do work; where memory runs out, with half as many pictures at once."""
        while True:
            try:
                return work()
            except Exception as error:
                if self.at_once == 1 or not is_out_of_memory(error):
                    raise
            tried, self.at_once = self.at_once, self.at_once // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            pulse.log(f"Memory ran out for {tried} pictures at once; going on with {self.at_once}.")


def _resized(pictures: Tensor, size: int) -> Tensor:
    if pictures.shape[-1] == size:
        return pictures.float()
    return interpolate(pictures.float(), (size, size), mode="bilinear", antialias=True).clamp(0, 1)
