"""Everything that the rest of a training depends on, and how it is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam

from workers.methods.neural_congealing.network.atlas import AtlasParameters
from workers.methods.neural_congealing.network.options import NetworkOptions
from workers.methods.neural_congealing.network.stn import MappingNetwork
from workers.methods.training_tensors import moment_tensors, restore_moments, restore_tensors


@dataclass
class TrainingState:
    """Weights, optimiser and counters.

    Attributes:
        network: gives maps.
        atlas: the learned atlas.
        optimiser: Adam on both; it keeps moments only of what has had a gradient.
        mirrored: (N,) bool, images taken mirrored.
        included: (N,) bool, images that shape the atlas.
        done: steps done in all.
        window: (2,) float64, sum of the losses since the last look, and their number.
        curve: (K, 3) stage, step of the stage, mean loss; on the CPU.
    """

    network: MappingNetwork
    atlas: AtlasParameters
    optimiser: Adam
    mirrored: Tensor
    included: Tensor
    done: int
    window: Tensor
    curve: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """A copy of all that changes, by name."""
        kept = {
            "mirrored": self.mirrored,
            "included": self.included,
            "done": torch.tensor(self.done),
            "window": self.window,
            "curve": self.curve,
        }
        kept |= dict(self._parameters()) | moment_tensors(self.optimiser, dict(self._parameters()))
        return {name: tensor.detach().clone() for name, tensor in kept.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what `tensors` gave.

        Raises:
            ValueError: tensors are missing or have other shapes.
        """
        named = dict(self._parameters())
        own: dict[str, Tensor] = {"mirrored": self.mirrored, "included": self.included, "window": self.window, **named}
        restore_tensors(own, tensors, besides=("done", "curve"))
        self.done, self.curve = int(tensors["done"]), tensors["curve"].clone().cpu()
        restore_moments(self.optimiser, named, tensors)

    def _parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for prefix, module in (("network", self.network), ("atlas", self.atlas)):
            for name, parameter in module.named_parameters():
                yield f"{prefix}.{name}", parameter


def new_network(options: NetworkOptions, seed: int, device: torch.device) -> MappingNetwork:
    """Untrained networks; weights are drawn on the CPU, so that they are the same on any device."""
    mixed = options.mixed_precision and device.type == "cuda"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MappingNetwork(options.flow_size, options.width, mixed=mixed)
    network.to(device)
    if device.type == "cuda":
        network.to(memory_format=torch.channels_last)
        if options.compiled:
            for each in network.stns:
                each.compile()
    return network


def first_state(
    atlas: AtlasParameters, included: Tensor, network: MappingNetwork, options: NetworkOptions
) -> TrainingState:
    """The state before the first step."""
    groups = [
        {"params": list(network.parameters()), "lr": options.rate},
        {"params": [p for p in atlas.parameters() if p.requires_grad], "lr": options.atlas_rate},
    ]
    return TrainingState(
        network=network,
        atlas=atlas,
        optimiser=Adam([group for group in groups if group["params"]], fused=True),
        mirrored=torch.zeros_like(included),
        included=included,
        done=0,
        window=torch.zeros(2, dtype=torch.float64, device=included.device),
        curve=torch.zeros(0, 3),
    )
