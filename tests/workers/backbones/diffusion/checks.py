"""What tests of networks watch and compare."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.testing import assert_close


@contextmanager
def passes(layer: nn.Module) -> Iterator[list[int]]:
    """Collect the batch sizes that a layer is given."""
    sizes: list[int] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes.append(len(inputs[0]))

    handle = layer.register_forward_pre_hook(note)
    yield sizes
    handle.remove()


def assert_same(found: Tensor, expected: Tensor) -> None:
    """Compare features that were computed in float64 and rounded to float32."""
    assert_close(found, expected.float(), rtol=0, atol=1e-6)
