from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.workers.methods.sd_correspondence.bed import QUERIES, as_tensor, options, scene
from workers.evaluation.attention_bed import CanonicalReader
from workers.methods.sd_correspondence.crops import crops_of
from workers.methods.sd_correspondence.optimisation import Draws, Group, Optimisation
from workers.methods.sd_correspondence.options import Options
from workers.methods.sd_correspondence.passes import Passes
from workers.methods.sd_correspondence.reader import generator
from workers.methods.sd_correspondence.scene import LiveFeatures, View

SIZE = 256
PLACES = as_tensor(SIZE * QUERIES)
FAST = {"rounds": 2, "steps": 4, "crop_bank": 8, "stop_early": False}
Seen = list[tuple[list[View], list[int]]]


def group(*indices: int) -> Group:
    return Group(PLACES[list(indices)], ("group", indices))


def begin(
    groups: Sequence[Group],
    chosen: Options,
    *,
    items: int = 64,
    seen: Seen | None = None,
    reader: CanonicalReader | None = None,
) -> Optimisation:
    reader = reader or CanonicalReader()
    crops = crops_of(chosen.size, chosen.crop_percent)
    bank = crops.bank(chosen.crop_bank, generator("bank")) if chosen.crop_bank else []
    live = LiveFeatures(scene(reader, chosen), chosen.optimise_timestep)

    def watched(views: Sequence[View], contexts: Tensor, owners: Tensor) -> list[Tensor]:
        if seen is not None:
            seen.append((list(views), owners.tolist()))
        return live(views, contexts, owners)

    return Optimisation(reader, watched, groups, Draws(crops, bank), chosen, Passes(reader, print, items=items))


def ended(optimisation: Optimisation) -> Optimisation:
    while not optimisation.is_finished:
        optimisation.step()
    return optimisation


def small(preset: str = "fast", **tuning: Any) -> Options:
    return options(preset, **{**FAST, **tuning})


SETTINGS = [small(), small(crop_bank=0), small(noise="gaussian", half_pixel=False)]


@pytest.mark.parametrize("chosen", SETTINGS)
def test_groups_side_by_side_learn_what_each_learns_alone(chosen: Options) -> None:
    groups = [group(0), group(1), group(2)]
    together = ended(begin(groups, chosen))
    for index, one in enumerate(groups):
        alone = ended(begin([one], chosen))
        assert_close(together.embeddings[index], alone.embeddings[0], rtol=0, atol=1e-5)
        rounds = slice(index * chosen.rounds, (index + 1) * chosen.rounds)
        assert_close(together.losses[:, rounds], alone.losses, rtol=1e-5, atol=0)


@pytest.mark.parametrize("items", [1, 3, 4])
def test_the_size_of_passes_does_not_matter(items: int) -> None:
    groups, chosen = [group(0), group(1, 2)], small()
    assert_close(
        ended(begin(groups, chosen, items=items)).embeddings, ended(begin(groups, chosen)).embeddings, rtol=0, atol=1e-5
    )


def test_groups_of_different_sizes_learn_side_by_side() -> None:
    chosen = small(steps=20, learning_rate=0.02)
    both = ended(begin([group(0), group(1, 2)], chosen))
    assert both.tokens == 2
    assert both.losses[0].tolist() == pytest.approx([0.0094] * 4, rel=0.1)
    alone = ended(begin([group(0)], chosen))
    assert_close(both.embeddings[0], alone.embeddings[0], rtol=0, atol=1e-4)
    assert bool((both.losses[-3:].mean(0) < 0.95 * both.losses[0]).all())


def test_losses_fall_and_are_told_as_a_share_of_no_attention() -> None:
    optimisation = ended(begin([group(0)], small(steps=40, learning_rate=0.01)))
    first, last = optimisation.losses[0], optimisation.losses[-1]
    assert bool((last < 0.75 * first).all())
    shares = optimisation.shares_of_nothing
    assert shares.shape == (1, 2)
    assert_close(shares[0], last / 0.00938, rtol=0.01, atol=0)


def test_rounds_share_views_where_crops_come_from_a_bank() -> None:
    seen: Seen = []
    optimisation = begin([group(0), group(1)], small(), seen=seen)
    optimisation.step()
    ((views, owners),) = seen
    assert len(views) == 2
    assert owners == [0, 0, 1, 1]
    assert not torch.equal(views[0].noise, views[1].noise)
    first, second = optimisation.embeddings[0]
    assert not torch.equal(first, second)


def test_rounds_have_views_of_their_own_where_every_crop_is_new() -> None:
    seen: Seen = []
    optimisation = begin([group(0)], small(crop_bank=0), seen=seen)
    optimisation.step()
    optimisation.step()
    assert [owners for _, owners in seen] == [[0, 1], [0, 1]]
    noises = [view.noise for views, _ in seen for view in views]
    assert len({noise.numpy().tobytes() for noise in noises}) == 4


def test_views_show_the_point() -> None:
    seen: Seen = []
    chosen = small(steps=12, crop_percent=50, crop_bank=16)
    ended(begin([group(0), group(2)], chosen, seen=seen))
    for views, _ in seen:
        for view, place in zip(views, PLACES[[0, 2]].tolist(), strict=True):
            assert all(start <= axis <= start + 128 for start, axis in zip(view.window, place, strict=True))


def test_without_a_point_in_the_crop_nothing_is_learnt_and_no_loss_told() -> None:
    chosen = small(crop_percent=50, crop_bank=1)
    near = Group(torch.tensor([[60.0, 70.0]]), ("near",))
    optimisation = begin([Group(torch.tensor([[200.0, 200.0]]), ("far",)), near], chosen)
    before = optimisation.embeddings
    loss = optimisation.step()
    assert bool(optimisation.losses[0, :2].isnan().all())
    assert loss == pytest.approx(float(optimisation.losses[0, 2:].mean()))
    assert_close(optimisation.embeddings[0], before[0], rtol=0, atol=0)
    assert bool(optimisation.shares_of_nothing[0].isinf().all())
    assert not torch.equal(optimisation.embeddings[1], before[1])


def test_those_that_have_ended_no_longer_move() -> None:
    chosen = small(steps=120, stop_early=True, learning_rate=0.2)
    optimisation = begin([group(0), group(2)], chosen)
    kept: dict[int, Tensor] = {}
    while not optimisation.is_finished:
        optimisation.step()
        running = optimisation.losses[optimisation.done - 1].isfinite()
        for item in (~running).nonzero()[:, 0].tolist():
            kept.setdefault(item, optimisation.embeddings.flatten(0, 1)[item])
    assert 16 < optimisation.done < 120
    assert 0 < len(kept) < 4
    for item, embedding in kept.items():
        assert torch.equal(optimisation.embeddings.flatten(0, 1)[item], embedding)
        finite = optimisation.losses[:, item].isfinite()
        last = int(finite.sum())
        assert bool(finite[:last].all())
        share = optimisation.shares_of_nothing.flatten()[item]
        assert float(share) == pytest.approx(float(optimisation.losses[last - 1, item]) / 0.00938, rel=0.01)


def test_without_an_early_end_all_steps_are_done() -> None:
    optimisation = ended(begin([group(0)], small(steps=25, learning_rate=0.05)))
    assert optimisation.done == 25
    assert bool(optimisation.losses.isfinite().all())


@pytest.mark.parametrize("preset", ["fast", "official"])
def test_a_restored_one_goes_on_as_if_nothing_had_happened(preset: str) -> None:
    chosen = replace(options(preset, rounds=2, steps=24, learning_rate=0.05), stop_early=preset == "fast")
    groups = [group(0), group(1)]
    whole, begun, resumed = (begin(groups, chosen) for _ in range(3))
    ended(whole)
    for _ in range(9):
        begun.step()
    state = {name: tensor.clone() for name, tensor in begun.state().items()}
    begun.step()
    resumed.restore(state)
    assert resumed.done == 9
    ended(resumed)
    assert torch.equal(resumed.embeddings, whole.embeddings)
    assert torch.equal(resumed.losses.nan_to_num(), whole.losses.nan_to_num())
    assert resumed.done == whole.done


def test_memory_that_runs_out_changes_nothing_but_the_passes() -> None:
    class Narrow(CanonicalReader):
        def attend(self, features: Sequence[Tensor], embeddings: Tensor, tokens: int) -> list[Tensor]:
            if len(embeddings) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().attend(features, embeddings, tokens)

    groups, chosen = [group(0), group(1)], small()
    narrow = ended(begin(groups, chosen, reader=Narrow()))
    assert_close(narrow.embeddings, ended(begin(groups, chosen)).embeddings, rtol=0, atol=1e-5)


def test_the_same_seed_begins_alike_and_another_does_not() -> None:
    chosen = small()
    one, same = (begin([group(0)], chosen).embeddings for _ in range(2))
    other = begin([Group(PLACES[:1], ("other",))], chosen).embeddings
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert float(one.std()) == pytest.approx(1, rel=0.02)
