"""A canonical shape for a set of pictures, from a diffusion model that knows views of objects (arXiv 2404.02125)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue
from torch import Tensor

from alignment.mesh import Mesh
from workers.methods.congealing_3d.generate.distillation import Distillation
from workers.methods.congealing_3d.generate.guidance import Prompts
from workers.methods.congealing_3d.generate.inversion import Inversion
from workers.methods.congealing_3d.generate.meshing import Meshed, mesh_of
from workers.methods.congealing_3d.generate.networks import ViewNetworks
from workers.methods.congealing_3d.generate.options import GenerateOptions
from workers.methods.features import Heartbeat

PREFIX = "generate."
"""Of all names in a checkpoint."""
PHASE = PREFIX + "phase"
"""Name of the tensor () that tells the phase of a checkpoint: 0 in the inversion, 1 in the distillation."""
_INVERSION, _DISTILLATION = 0, 1
_NAMES = {_INVERSION: PREFIX + "inversion.", _DISTILLATION: PREFIX + "distillation."}


@dataclass(frozen=True)
class Generated:
    """A shape, and what it came from.

    Attributes:
        mesh: in the canonical frame, with colours.
        field: tensors of the learned field, on the CPU.
        token: (k, D) the learned words, on the CPU.
        report: figures of all phases; may be written as JSON.
        curves: `inversion` (K, 2) step, loss; `distillation` (K, 3) step, loss, opacity.
        warnings: sentences on what is doubtful.
    """

    mesh: Mesh
    field: dict[str, Tensor]
    token: Tensor
    report: dict[str, JsonValue]
    curves: dict[str, npt.NDArray[np.float32]]
    warnings: tuple[str, ...]


def generate_shape(
    pictures: Tensor,
    masks: Tensor | None,
    options: GenerateOptions,
    networks: ViewNetworks,
    pulse: Heartbeat,
    *,
    seed: int,
    device: torch.device,
) -> Generated:
    """Make a shape that looks, from everywhere, like what the pictures show.

    The run's stages `inversion` and `distillation` are entered here. On a CPU, a run resumed from any of its
    checkpoints ends bit by bit as undisturbed.

    Args:
        pictures: (N, 3, S, S) in [0, 1], each cropped to its object.
        masks: (N, 1, S, S) in [0, 1], or None.
        options: settings.
        networks: the frozen model.
        pulse: progress, checkpoints, cancellation. A state that is not of this function begins it afresh.
        seed: of all that is drawn.
        device: of the networks.

    Raises:
        UnfitImagesError: the field stayed empty.
        ArithmeticError: a loss is no longer finite.
        ValueError: a checkpoint of something else, or masks that do not fit the pictures.
    """
    _require_fit(pictures, masks)
    with torch.enable_grad():
        return _Generation(pictures, masks, options, networks, seed, device).run(pulse)


class _Generation:
    """All phases of one shape."""

    def __init__(
        self,
        pictures: Tensor,
        masks: Tensor | None,
        options: GenerateOptions,
        networks: ViewNetworks,
        seed: int,
        device: torch.device,
    ) -> None:
        self.options, self.networks, self.seed, self.device = options, networks, seed, device
        self.inversion = Inversion(
            networks,
            pictures,
            masks,
            options.inversion.suited_to(len(pictures)),
            template=options.template,
            size=options.picture_size,
            seed=seed,
            device=device,
        )

    def run(self, pulse: Heartbeat) -> Generated:
        resume = pulse.resume if pulse.resume is not None and PHASE in pulse.resume else None
        if resume is not None:
            self.inversion.restore(_phase_of(resume, _INVERSION))
        self.inversion.run(pulse, _saving(_INVERSION))
        distillation = Distillation(
            self.networks,
            self._prompts(),
            self.options.distillation,
            size=self.options.picture_size,
            seed=self.seed,
            device=self.device,
        )
        if resume is not None and int(resume[PHASE]) == _DISTILLATION:
            distillation.state.restore(_phase_of(resume, _DISTILLATION))
        learned = {_NAMES[_INVERSION] + name: tensor for name, tensor in self.inversion.tensors().items()}
        distillation.run(pulse, _saving(_DISTILLATION, learned))
        meshed = mesh_of(distillation.state.field, self.options.mesh, distillation.marching, self.device, pulse.beat)
        return self._generated(distillation, meshed)

    @torch.no_grad()
    def _prompts(self) -> Prompts:
        token, template = self.inversion.token.detach(), self.options.template + self.options.suffix
        unwanted = self.networks.text([self.options.distillation.negative_prompt])
        return Prompts(self.networks.text_with(token, template).detach(), unwanted.detach())

    def _generated(self, distillation: Distillation, meshed: Meshed) -> Generated:
        state, inversion = distillation.state, self.inversion
        before, after = inversion.fixed.tolist()
        report: dict[str, JsonValue] = {
            "seed": self.seed,
            "inversion": {"steps": inversion.done, "loss_before": _known(before), "loss_after": _known(after)},
            "distillation": {
                "steps": state.done,
                "field": self.options.distillation.kind,
                "loss": float(state.curve[-1, 1]),
                "opacity": float(state.curve[-1, 2]),
            },
            "mesh": meshed.report,
        }
        field = {name: tensor.detach().cpu().clone() for name, tensor in state.field.state_dict().items()}
        curves = {"inversion": inversion.curve.numpy(), "distillation": state.curve.numpy()}
        token = inversion.token.detach().cpu().clone()
        return Generated(meshed.mesh, field, token, report, curves, meshed.warnings)


def _saving(
    phase: int, learned: Mapping[str, Tensor] | None = None
) -> Callable[[Mapping[str, Tensor]], dict[str, Tensor]]:
    """What makes a checkpoint of a phase's tensors and of what was `learned` before it."""

    def save(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own = {_NAMES[phase] + name: tensor for name, tensor in tensors.items()}
        return {PHASE: torch.tensor(phase), **(learned or {}), **own}

    return save


def _phase_of(tensors: Mapping[str, Tensor], phase: int) -> dict[str, Tensor]:
    prefix = _NAMES[phase]
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _require_fit(pictures: Tensor, masks: Tensor | None) -> None:
    if pictures.ndim != 4 or pictures.shape[1] != 3 or not len(pictures):
        raise ValueError(f"pictures are of shape {tuple(pictures.shape)}; give (N, 3, S, S) with N of at least 1")
    if masks is not None and masks.shape != (len(pictures), 1, *pictures.shape[2:]):
        raise ValueError(f"masks are of shape {tuple(masks.shape)}; give one (1, S, S) for each of the pictures")
