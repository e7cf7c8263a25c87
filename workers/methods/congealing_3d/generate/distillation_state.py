"""Everything that the rest of a distillation depends on, and how it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import AdamW

from workers.methods.congealing_3d.generate.draws import drawing
from workers.methods.congealing_3d.generate.field import CanonicalField
from workers.methods.congealing_3d.generate.grid_field import GridField
from workers.methods.congealing_3d.generate.hash_field import HashField
from workers.methods.congealing_3d.generate.occupancy import Occupancy
from workers.methods.congealing_3d.generate.options import DistillationOptions
from workers.methods.congealing_3d.generate.rays import step_length
from workers.methods.training_tensors import moment_tensors, restore_moments, restore_tensors

_BETAS, _EPS, _WEIGHT_DECAY = (0.9, 0.99), 1e-15, 0.01


@dataclass
class DistillationState:
    """The field, its optimiser, where it is empty, and counters.

    Attributes:
        field: what is learned.
        optimiser: of all its parameters.
        occupancy: where it is not empty.
        done: steps done.
        window: (3,) float64, sums since the last look of loss, opacity and 1.
        curve: (K, 3) step, and mean loss and opacity since the row before; on the CPU.
    """

    field: CanonicalField
    optimiser: AdamW
    occupancy: Occupancy
    done: int
    window: Tensor
    curve: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """A copy of all that changes, by name."""
        kept = self._own() | {"done": torch.tensor(self.done), "curve": self.curve}
        kept |= moment_tensors(self.optimiser, dict(self.field.named_parameters()))
        return {name: tensor.detach().clone() for name, tensor in kept.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what `tensors` gave.

        Raises:
            ValueError: tensors are missing or have other shapes.
        """
        restore_tensors(self._own(), tensors, besides=("done", "curve"))
        self.done, self.curve = int(tensors["done"]), tensors["curve"].clone().cpu()
        restore_moments(self.optimiser, dict(self.field.named_parameters()), tensors)

    def _own(self) -> dict[str, Tensor]:
        own = {f"field.{name}": tensor for name, tensor in self.field.state_dict().items()}
        return own | {"occupancy": self.occupancy.values, "window": self.window}


def first_state(options: DistillationOptions, *, seed: int, device: torch.device) -> DistillationState:
    """The state before the first step; all is drawn on the CPU, so that it is the same anywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(drawing(seed, "start").initial_seed())
        field = new_field(options).to(device)
    rates = {"grid": options.rates.grid, "network": options.rates.network, "background": options.rates.background}
    groups = [{"params": group, "lr": rates[kind]} for kind, group in field.rate_groups().items() if group]
    return DistillationState(
        field=field,
        optimiser=AdamW(groups, betas=_BETAS, eps=_EPS, weight_decay=_WEIGHT_DECAY),
        occupancy=Occupancy(step_length(options.marching.samples), device),
        done=0,
        window=torch.zeros(3, dtype=torch.float64, device=device),
        curve=torch.zeros(0, 3),
    )


def new_field(options: DistillationOptions) -> CanonicalField:
    """The field before anything is learned."""
    return HashField() if options.kind == "hash" else GridField(options.cells)
