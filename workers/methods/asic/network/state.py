"""Everything that the rest of a training depends on, and how it is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam

from workers.methods.asic.network.options import NetworkOptions
from workers.methods.asic.network.unet import UNet
from workers.methods.training_tensors import moment_tensors, restore_moments, restore_tensors

_GRID_CHANNELS = 4
_GRID_DEVIATION = 0.1


@dataclass
class TrainingState:
    """Weights, optimiser, counters, and the best maps so far.

    Attributes:
        network: gives offsets.
        grid: (1, 4, g, g), the canonical grid.
        optimiser: Adam on both.
        done: steps done.
        window: (2,) float64, sum of the losses since the last look, and their number.
        curve: (K, 3) step, mean loss since the look before, residual of the held-out matches; on the CPU.
        best: (3,) float64, least residual, the step it was found at, and looks since; on the CPU.
        best_flows: (N, S, S, 2), with that residual.
        best_grid: (1, 4, g, g), beside them.
    """

    network: UNet
    grid: nn.Parameter
    optimiser: Adam
    done: int
    window: Tensor
    curve: Tensor
    best: Tensor
    best_flows: Tensor
    best_grid: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """A copy of all that changes, by name."""
        kept = self._own() | {"done": torch.tensor(self.done), "curve": self.curve}
        kept |= moment_tensors(self.optimiser, dict(self._parameters()))
        return {name: tensor.detach().clone() for name, tensor in kept.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what `tensors` gave.

        Raises:
            ValueError: tensors are missing or have other shapes.
        """
        restore_tensors(self._own(), tensors, besides=("done", "curve"))
        self.done, self.curve = int(tensors["done"]), tensors["curve"].clone().cpu()
        restore_moments(self.optimiser, dict(self._parameters()), tensors)

    def _own(self) -> dict[str, Tensor]:
        """Tensors of fixed shape, by name."""
        own = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        own |= {name: getattr(self, name) for name in ("grid", "window", "best", "best_flows", "best_grid")}
        return own

    def _parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield "grid", self.grid
        for name, parameter in self.network.named_parameters():
            yield f"network.{name}", parameter


def first_state(count: int, options: NetworkOptions, *, seed: int, device: torch.device) -> TrainingState:
    """The state before the first step on `count` pictures; all is drawn on the CPU, so that it is the same anywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = UNet(options.width, norm="batch" if options.compat else "group")
        cells = torch.randn(1, _GRID_CHANNELS, options.grid_size, options.grid_size) * _GRID_DEVIATION
    network.to(device).train()
    if device.type == "cuda" and not options.compat:
        network.to(memory_format=torch.channels_last)
    grid = nn.Parameter(cells.to(device))
    return TrainingState(
        network=network,
        grid=grid,
        optimiser=Adam([*network.parameters(), grid], options.rate, fused=True),
        done=0,
        window=torch.zeros(2, dtype=torch.float64, device=device),
        curve=torch.zeros(0, 3),
        best=torch.tensor([torch.inf, 0, 0], dtype=torch.float64),
        best_flows=torch.zeros(count, options.image_size, options.image_size, 2, device=device),
        best_grid=torch.zeros_like(cells, device=device),
    )
