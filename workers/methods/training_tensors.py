"""What of a training goes into a checkpoint, and comes back: tensors by name, and Adam's moments beside them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Adam

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def moment_tensors(optimiser: Adam, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Moments of the named parameters, as `name:moment`; none of those that had no gradient yet."""
    found: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        moments = optimiser.state.get(parameter, {})
        found |= {f"{name}:{moment}": moments[moment] for moment in _MOMENTS if moment in moments}
    return found


def restore_moments(optimiser: Adam, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser back what `moment_tensors` gave."""
    for name, parameter in parameters.items():
        optimiser.state.pop(parameter, None)
        if f"{name}:step" in tensors:
            moments = {moment: tensors[f"{name}:{moment}"].to(parameter.device) for moment in _MOMENTS}
            optimiser.state[parameter] = {
                "step": moments["step"].clone(),
                "exp_avg": torch.empty_like(parameter).copy_(moments["exp_avg"]),
                "exp_avg_sq": torch.empty_like(parameter).copy_(moments["exp_avg_sq"]),
            }


@torch.no_grad()
def restore_tensors(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], *, besides: tuple[str, ...]) -> None:
    """Copy a checkpoint into tensors of the same names and shapes.

    Raises:
        ValueError: some are missing, or others that must be there `besides`; or shapes differ.
    """
    missing = [name for name in (*own, *besides) if name not in tensors]
    if missing:
        raise ValueError(f"the checkpoint lacks {', '.join(missing[:5])}; start the job afresh")
    for name, tensor in own.items():
        if tensors[name].shape != tensor.shape:
            kept, wanted = tuple(tensors[name].shape), tuple(tensor.shape)
            raise ValueError(f"the checkpoint has {name} of {kept}, not {wanted}; start the job afresh")
        tensor.copy_(tensors[name])
