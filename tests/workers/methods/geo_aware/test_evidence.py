import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests.workers.methods.geo_aware.fields import field, grid
from workers.matching import chunks
from workers.matching.soft_argmax import Softness, soft_places
from workers.matching.trust import confidence
from workers.methods.geo_aware import evidence
from workers.methods.geo_aware.evidence import SideMaps, pair_maps, read_places

WAYS = [
    Softness(temperature=0.05),
    Softness(temperature=0.3, window=2),
    Softness(temperature=0.3, window=2, window_mode="zero"),
    Softness(temperature=0.02, window=2, window_mode="zero"),
    Softness(temperature=0.3, window=20, window_mode="zero"),
    Softness(temperature=0.05, window=-2),
]
HEIGHT, WIDTH, COUNT = 7, 9, 23
MASKS = [None, torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(4)) > 0.5]
WINDOW = Softness(temperature=0.02, window=7)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit_inputs() -> tuple[Tensor, Tensor]:
    return normalize(random(COUNT, 5, seed=1), dim=1), normalize(random(5, HEIGHT, WIDTH, seed=2), dim=0)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("softness", WAYS)
def test_places_are_those_of_the_soft_argmax(
    softness: Softness, mask: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "ELEMENTS", 4 * HEIGHT * WIDTH)
    queries, targets = unit_inputs()
    ticks: list[int] = []
    found = read_places(queries, targets, softness, target_mask=mask, tick=lambda: ticks.append(1))
    torch.testing.assert_close(found.cells, soft_places(queries, targets, softness, mask=mask))
    assert len(ticks) == 6


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("softness", WAYS)
def test_evidence_is_what_the_whole_similarity_map_says(softness: Softness, mask: Tensor | None) -> None:
    queries, targets = unit_inputs()
    found = read_places(queries, targets, softness, target_mask=mask)
    reach = softness.window if softness.window > 0 else 5
    similarity = queries @ targets.flatten(1)
    if mask is not None:
        similarity[:, ~mask.flatten()] = -torch.inf
    cells = grid(HEIGHT, WIDTH).view(-1, 2)
    for number, row in enumerate(similarity):
        best = int(row.argmax())
        near = (cells - cells[best]).abs().amax(dim=1) <= reach
        rest = row[~near & ~row.isneginf()]
        shares = (row[near & ~row.isneginf()] / softness.temperature).softmax(dim=0)
        entropy = -(shares * shares.log()).sum() / torch.tensor(float(len(shares))).double().log()
        assert int(found.index[number]) == best
        torch.testing.assert_close(found.peak[number], row[best])
        torch.testing.assert_close(found.margin[number], row[best] - (rest.max() if len(rest) else -1.0))
        torch.testing.assert_close(found.entropy[number], entropy, atol=1e-6, rtol=1e-5)


def test_entropy_is_zero_for_one_cell_and_one_for_cells_alike() -> None:
    alike = torch.ones(1, 4, 6)
    assert float(read_places(torch.ones(1, 1), alike, WINDOW).entropy) == pytest.approx(1.0)
    one = torch.zeros(4, 6, dtype=torch.bool)
    one[2, 3] = True
    found = read_places(torch.ones(1, 1), alike, WINDOW, target_mask=one)
    assert (float(found.entropy), found.cells.tolist(), float(found.margin)) == (0.0, [[3.0, 2.0]], 2.0)


def test_no_query_has_no_place() -> None:
    queries, targets = unit_inputs()
    found = read_places(queries[:0], targets, WINDOW)
    assert found.cells.shape == (0, 2)
    assert found.index.dtype == torch.long


def plain_maps(source: Tensor, target: Tensor, softness: Softness, target_mask: Tensor | None) -> Tensor:
    """(h, w, 2) places in cells, by the queries one after the other."""
    queries = source.flatten(1).T
    return soft_places(queries, target, softness, mask=target_mask).view(*source.shape[1:], 2)


@pytest.mark.parametrize("held", [evidence.HELD, 10])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("softness", WAYS)
def test_both_directions_are_read(softness: Softness, masked: bool, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "ELEMENTS", 5 * HEIGHT * WIDTH)
    monkeypatch.setattr(evidence, "HELD", held)
    source, target = (normalize(random(5, *size, seed=seed), dim=0) for size, seed in (((6, 8), 6), ((7, 9), 7)))
    masks = [random(*size, seed=seed) > -0.3 if masked else None for size, seed in (((6, 8), 8), ((7, 9), 9))]
    sides = pair_maps(source, target, softness, source_mask=masks[0], target_mask=masks[1])
    for side, (start, end), (inside, goal) in zip(
        sides, ((source, target), (target, source)), (masks, masks[::-1]), strict=True
    ):
        expected = (plain_maps(start, end, softness, goal) + 0.5) / torch.tensor([end.shape[2], end.shape[1]])
        if inside is not None:
            expected[~inside] = torch.nan
        torch.testing.assert_close(side.points, expected, equal_nan=True)
        torch.testing.assert_close(side.cycle, way_back(start, end, inside, goal), equal_nan=True)
        trust = confidence(side.peak, side.peak - side.margin, side.cycle).nan_to_num()
        torch.testing.assert_close(side.confidence, trust)
        if inside is not None:
            for values in (side.peak, side.margin, side.entropy, side.confidence):
                assert values[~inside].abs().max() == 0 < values[inside].abs().max()


def way_back(start: Tensor, end: Tensor, inside: Tensor | None, goal: Tensor | None) -> Tensor:
    """(h, w) how far from each cell the most similar cell's own most similar one lies; NaN outside."""
    similarity = start.flatten(1).T @ end.flatten(1)
    rows = slice(None) if inside is None else inside.flatten()
    columns = slice(None) if goal is None else goal.flatten()
    hidden = torch.full_like(similarity, -torch.inf)
    hidden[rows] = similarity[rows]
    limited = torch.full_like(similarity, -torch.inf)
    limited[:, columns] = hidden[:, columns]
    there, back = limited.argmax(dim=1), limited.argmax(dim=0)
    cells = grid(*start.shape[1:]).view(-1, 2).double()
    way = (cells - cells[back[there]]).norm(dim=1)
    if inside is not None:
        way[~inside.flatten()] = torch.nan
    return way.view(start.shape[1:])


def test_an_empty_mask_leaves_nothing_to_be_found() -> None:
    source, target = field(grid(4, 5)), field(grid(3, 6))
    for side in pair_maps(source, target, WINDOW, target_mask=torch.zeros(3, 6, dtype=torch.bool)):
        assert side.points.isnan().all()
        assert side.cycle.isnan().all()
        assert not side.confidence.any()
        assert not side.peak.any()


def test_an_image_matches_itself_in_place() -> None:
    features = field(grid(24, 30))
    for side in pair_maps(features, features, WINDOW):
        gaps = _found_cells(side, 24, 30) - grid(24, 30)
        inner = gaps[2:-2, 2:-2]
        assert inner.abs().max() < 0.05
        assert not side.cycle.any()
        torch.testing.assert_close(side.peak, torch.ones(24, 30))
        assert side.confidence.min() > 0.9


def _found_cells(side: SideMaps, height: int, width: int) -> Tensor:
    return side.points * torch.tensor([float(width), float(height)]) - 0.5


def warp_gaps(matrix: list[list[float]], shift: list[float], softness: Softness) -> tuple[Tensor, Tensor]:
    """How far, in cells, matches of a warped field end from where they should: softly, and by the nearest cell."""
    size = 40
    linear, start = torch.tensor(matrix), grid(size, size)
    middle = (size - 1) / 2
    true = (start - middle) @ linear.T + middle + torch.tensor(shift)
    source = field(true)
    side, _ = pair_maps(source, field(start), softness)
    inside = ((true > 3) & (true < size - 4)).all(dim=2)
    soft = (_found_cells(side, size, size) - true).norm(dim=2)[inside]
    index = (source.flatten(1).T @ field(start).flatten(1)).argmax(dim=1)
    hard = (start.view(-1, 2)[index].view(size, size, 2) - true).norm(dim=2)[inside]
    return soft, hard


@pytest.mark.parametrize(
    ("matrix", "shift"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], [2.37, -1.61]),
        ([[0.9, 0.2], [-0.15, 1.05]], [0.4, 0.8]),
        ([[-0.8, 0.3], [0.3, 0.8]], [0.0, 0.0]),
    ],
)
def test_warped_fields_are_matched_within_a_tenth_of_a_cell(matrix: list[list[float]], shift: list[float]) -> None:
    soft, hard = warp_gaps(matrix, shift, WINDOW)
    assert soft.max() < 0.1
    assert soft.mean() < hard.mean() / 10
