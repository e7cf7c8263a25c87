from collections.abc import Callable, Sequence

import pytest
import torch

from workers.evaluation.attention_bed import CanonicalReader
from workers.methods.sd_correspondence.passes import Passes, first_items

ITEMS = list(range(7))


class Narrow:
    """Work that fits a few items at once, or fewer unless memory is spared."""

    def __init__(self, reader: CanonicalReader, *, room: int, error: Callable[[], BaseException]) -> None:
        self.done: list[int] = []
        self.tried: list[int] = []
        self._reader, self._room, self._error = reader, room, error

    def __call__(self, items: Sequence[int]) -> None:
        self.tried.append(len(items))
        if len(items) > (self._room or int(self._reader.low_memory)):
            raise self._error()
        self.done += items


def out_of_memory() -> BaseException:
    return torch.OutOfMemoryError("CUDA out of memory.")


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.mark.parametrize("items", [1, 3, 7, 64])
def test_all_items_are_done_once_and_in_order(items: int, log: list[str]) -> None:
    reader = CanonicalReader()
    work = Narrow(reader, room=100, error=out_of_memory)
    Passes(reader, log.append, items=items).run(ITEMS, work)
    assert work.done == ITEMS
    assert max(work.tried) == min(items, len(ITEMS))
    assert log == []


def test_a_pass_that_does_not_fit_is_halved_for_good_and_told(log: list[str]) -> None:
    reader = CanonicalReader()
    work = Narrow(reader, room=2, error=out_of_memory)
    passes = Passes(reader, log.append, items=64)
    passes.run(ITEMS, work)
    assert work.done == ITEMS
    assert work.tried == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert passes.items == 1
    assert len(log) == 2
    assert "7 embeddings at once; going on with 3" in log[0]
    assert not reader.low_memory
    work.tried.clear()
    passes.run(ITEMS, work)
    assert set(work.tried) == {1}


def test_one_item_that_does_not_fit_is_done_with_less_memory(log: list[str]) -> None:
    reader = CanonicalReader()
    work = Narrow(reader, room=0, error=lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    Passes(reader, log.append, items=2).run(ITEMS, work)
    assert work.done == ITEMS
    assert reader.low_memory
    assert "computed twice" in log[-1]
    assert len(log) == 2


def test_where_nothing_helps_the_error_comes_through(log: list[str]) -> None:
    reader = CanonicalReader()
    passes = Passes(reader, log.append, items=2)

    def work(_: Sequence[int]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        passes.run(ITEMS, work)
    assert len(log) == 2


@pytest.mark.parametrize("error", [ValueError("no"), RuntimeError("shapes differ"), KeyboardInterrupt()])
def test_other_errors_come_through_at_once(error: BaseException, log: list[str]) -> None:
    reader = CanonicalReader()
    with pytest.raises(type(error)):
        Passes(reader, log.append, items=4).run(ITEMS, Narrow(reader, room=0, error=lambda: error))
    assert log == []
    assert not reader.low_memory


def test_a_processor_begins_with_few_items() -> None:
    assert first_items(torch.device("cpu"), 512) == 4
