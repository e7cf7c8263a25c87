"""Everything that the rest of a training depends on, and how it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from workers.methods.geo_aware_adapter.data import TrainingSet
from workers.methods.geo_aware_adapter.network import Adapter, load_adapter_state
from workers.methods.geo_aware_adapter.options import AdapterOptions
from workers.methods.training_tensors import moment_tensors, restore_moments, restore_tensors

CURVE_COLUMNS = ("step", "loss", "sparse", "error_cells", "score")


@dataclass
class TrainingState:
    """Weights, optimiser, counters, and the best weights so far.

    Attributes:
        adapter: is trained.
        optimiser: AdamW on it.
        done: steps done.
        window: (4,) float64, sums of the total, sparse and dense loss since the last look, and their number; on CPU.
        curve: (R, 5), see `CURVE_COLUMNS`; on the CPU.
        best: (2,) float64, highest score and the step it was found at; on the CPU.
        best_weights: with that score, by name.
    """

    adapter: Adapter
    optimiser: AdamW
    done: int
    window: Tensor
    curve: Tensor
    best: Tensor
    best_weights: dict[str, Tensor]

    def tensors(self) -> dict[str, Tensor]:
        """A copy of all that changes, by name."""
        kept = self._own() | {"done": torch.tensor(self.done), "curve": self.curve}
        kept |= moment_tensors(self.optimiser, self._parameters())
        return {name: tensor.detach().clone() for name, tensor in kept.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what `tensors` gave.

        Raises:
            ValueError: tensors are missing or have other shapes.
        """
        restore_tensors(self._own(), tensors, besides=("done", "curve"))
        self.done, self.curve = int(tensors["done"]), tensors["curve"].clone().cpu()
        restore_moments(self.optimiser, self._parameters(), tensors)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the adapter's present weights."""
        return {name: tensor.detach().clone() for name, tensor in self.adapter.state_dict().items()}

    def _own(self) -> dict[str, Tensor]:
        """Tensors of fixed shape, by name."""
        own = {f"adapter.{name}": tensor for name, tensor in self.adapter.state_dict().items()}
        own |= {f"best.{name}": tensor for name, tensor in self.best_weights.items()}
        return own | {"window": self.window, "best": self.best}

    def _parameters(self) -> dict[str, nn.Parameter]:
        return {f"adapter.{name}": parameter for name, parameter in self.adapter.named_parameters()}


def first_state(
    data: TrainingSet, options: AdapterOptions, *, seed: int, start: Mapping[str, Tensor] | None
) -> TrainingState:
    """The state before the first step; what is drawn is drawn on the CPU, so that it is the same anywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapter = Adapter(data.channels, width=options.width, hidden=options.hidden, groups=options.groups)
    if start is not None:
        load_adapter_state(adapter, start)
    adapter.to(data.points.device)
    state = TrainingState(
        adapter=adapter,
        optimiser=_optimiser(adapter, options),
        done=0,
        window=torch.zeros(4, dtype=torch.float64),
        curve=torch.zeros(0, len(CURVE_COLUMNS)),
        best=torch.tensor([-torch.inf, 0], dtype=torch.float64),
        best_weights={},
    )
    state.best_weights = state.weights()
    return state


def _optimiser(adapter: Adapter, options: AdapterOptions) -> AdamW:
    """AdamW, its decay on the convolutions only, or on everything as officially."""
    kernels = [parameter for parameter in adapter.parameters() if options.compat or parameter.ndim > 1]
    others = [parameter for parameter in adapter.parameters() if not options.compat and parameter.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": options.weight_decay}]
    groups += [{"params": others, "weight_decay": 0.0}] if others else []
    return AdamW(groups, options.learning_rate, fused=True)
