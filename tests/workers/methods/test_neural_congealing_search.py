"""Alignment without masks from features that change with the pose, on drawn pictures with known points."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from workers.backbones.dense_descriptor import DenseDescriptor
from workers.evaluation.synthetic import SyntheticSet, sample_set
from workers.geometry.coordinates import identity_grid, sample
from workers.geometry.similarity import compose, invert, similarity_matrix, to_complex, transform
from workers.imaging.frames import WorkingFrames, letterboxed, upload_to_frame
from workers.matching.projection import fit_projection
from workers.methods.neural_congealing.bank import (
    TURNED_VIEWS,
    UPRIGHT_VIEWS,
    View,
    describe_bank,
    pair_peaks,
    view_matrices,
    view_pairs,
)
from workers.methods.neural_congealing.coarse_views import CoarseViews
from workers.methods.neural_congealing.direct import DirectOptions, align
from workers.methods.neural_congealing.evaluation import carry
from workers.methods.neural_congealing.initialisation import NothingInCommonError, combine
from workers.methods.neural_congealing.result import CongealingResult
from workers.methods.neural_congealing.search import search_alignment
from workers.methods.neural_congealing.views import ImageViews

FRAME = 128
CELLS = 32
BACKBONE = DenseDescriptor()


class Recorder:
    """Hooks that keep every state."""

    def __init__(self, resume: Mapping[str, Tensor] | None = None) -> None:
        self.resume = resume
        self.states: list[dict[str, Tensor]] = []

    def stage(self, name: str) -> None:
        pass

    def step(
        self, step: int, total: int, *, state: Callable[[], dict[str, Tensor]] | None = None, **metrics: float
    ) -> None:
        assert 1 <= step <= total
        assert all(math.isfinite(value) for value in metrics.values())
        if state is not None:
            self.states.append(state())


class Describer:
    def __init__(self, pictures: Tensor) -> None:
        self.pictures = pictures

    def __call__(self, images: Sequence[int], matrices: Tensor, mirrored: Sequence[bool], *, cells: int) -> Tensor:
        side = cells * BACKBONE.stride
        grid = identity_grid(side, side).unsqueeze(0)
        views = []
        for image, matrix, turned in zip(images, matrices, mirrored, strict=True):
            picture = self.pictures[image : image + 1]
            seen = sample(picture.flip(-1) if turned else picture, transform(matrix.unsqueeze(0), grid))
            views.append(BACKBONE.extract(seen))
        return torch.cat(views)


@cache
def drawn() -> tuple[SyntheticSet, WorkingFrames]:
    truth = sample_set(seed=7, count=6, mirrored=(2,))
    return truth, letterboxed([image.rgb for image in truth.images], FRAME, "cpu")


def frame_points(index: int) -> Tensor:
    truth, frames = drawn()
    return upload_to_frame(torch.from_numpy(truth.images[index].keypoints), frames.boxes[index])


def pck(result: CongealingResult) -> float:
    truth, frames = drawn()
    hits = []
    for i, j in itertools.permutations(range(len(truth.images)), 2):
        box = truth.images[j].bbox
        assert box is not None
        limit = 0.1 * max(box[2] - box[0], box[3] - box[1]) * frames.boxes[j].scale * 2 / FRAME
        error = (carry(result, i, j, frame_points(i)) - frame_points(j)).norm(dim=1)
        hits.append((error <= limit).float()[torch.from_numpy(truth.images[i].visible & truth.images[j].visible)])
    return float(torch.cat(hits).mean())


def test_drawn_pictures_align_without_masks() -> None:
    truth, frames = drawn()
    features = BACKBONE.extract(frames.pictures)
    options = DirectOptions(whitening=1.0, flow_steps=60, atlas_size=64)
    hooks = Recorder()
    describe = Describer(frames.pictures)
    result = align(features, None, None, frames.valid(CELLS), options, hooks=hooks, describe=describe)
    assert result.mirrored.nonzero().flatten().tolist() == list(truth.mirrored)
    assert pck(result) > 0.8
    assert not result.outlier.any()
    resumed = Recorder(resume=hooks.states[-50])
    again = align(features, None, None, frames.valid(CELLS), options, hooks=resumed, describe=describe)
    assert torch.equal(again.grids, result.grids)
    assert len(resumed.states) == 49


def test_pairs_of_turned_and_zoomed_copies_are_measured_to_half_a_step() -> None:
    picture = interpolate(drawn()[1].pictures[:1], (128, 128), mode="bilinear", antialias=True)
    parameters = torch.tensor([[0, 1, 0, 0], [math.radians(30), 0.8, 0.125, -0.0625], [math.radians(-15), 1.25, 0, 0]])
    grids = transform(similarity_matrix(parameters), identity_grid(128, 128).unsqueeze(0))
    pictures = sample(picture.expand(3, -1, -1, -1), grids)
    views = ImageViews(
        BACKBONE.extract(pictures),
        None,
        None,
        torch.ones(3, 1, 32, 32),
        describe=Describer(pictures),
        dim=32,
        whitening=1.0,
    )
    start = combine(pair_peaks(describe_bank(CoarseViews(views), flips=False)))
    factor, _ = to_complex(start.matrices.double())
    truth, _ = to_complex(similarity_matrix(parameters).double())
    for i in (1, 2):
        off = (factor[0] / factor[i]) / (truth[i] / truth[0])
        assert float(off.log().abs()) < 0.2


@pytest.mark.parametrize("views", [UPRIGHT_VIEWS, TURNED_VIEWS])
def test_views_cover_the_relative_turns_and_zooms_once(views: tuple[View, ...]) -> None:
    relations = [
        (views[b].angle - UPRIGHT_VIEWS[a].angle, views[b].scale - UPRIGHT_VIEWS[a].scale) for a, b in view_pairs(views)
    ]
    assert len(set(relations)) == len(relations)
    assert {angle for angle, scale in relations if scale == 0} == set(range(-4, 5))
    for zoom in (-1, 1):
        assert {angle for angle, scale in relations if scale == zoom} >= {-4, -2, -1, 0, 1, 2, 4}
        assert {angle for angle, scale in relations if scale == 2 * zoom} >= {-2, 0, 2}
    factors, shifts = to_complex(view_matrices(views).double())
    assert float(factors.log().sum().abs()) < 1e-5
    assert (shifts == 0).all()


def test_search_needs_a_describer() -> None:
    views = ImageViews(
        torch.rand(2, 4, 16, 16), None, None, torch.ones(2, 1, 16, 16), describe=None, dim=4, whitening=1.0
    )
    with pytest.raises(ValueError, match="needs a describer"):
        CoarseViews(views)


def test_projection_keeps_the_strongest_directions_and_centres() -> None:
    generator = np.random.default_rng(0)
    spread = np.array([5.0, 3.0, 1.0, 0.1, 0.1])
    table = torch.from_numpy((generator.normal(size=(2000, 5)) * spread + 7).astype(np.float32))
    features = table.T.reshape(1, 5, 40, 50)
    projection = fit_projection(features, torch.ones(1, 1, 40, 50), dim=3, whitening=1.0)
    assert projection.retained > 0.99
    torch.testing.assert_close(projection.mean, table.mean(dim=0), atol=1e-3, rtol=0)
    components = (table - projection.mean) @ projection.basis.T
    torch.testing.assert_close(torch.cov(components.T), torch.eye(3), atol=0.15, rtol=0)
    assert projection(features).norm(dim=1).sub(1).abs().max() < 1e-4


def views_of(pictures: Tensor, valid: Tensor | None = None) -> ImageViews:
    valid = torch.ones(len(pictures), 1, CELLS, CELLS) if valid is None else valid
    features = BACKBONE.extract(pictures)
    return ImageViews(features, None, None, valid, describe=Describer(pictures), dim=32, whitening=1.0)


TURN = torch.tensor([[0.0, 1, 0, 0], [math.radians(20), 0.9, 0.1, -0.05], [math.radians(-15), 1.1, 0, 0.1]])


def turned_copies(mirrored: int | None = None) -> Tensor:
    """One drawn picture and two turned and zoomed copies of it, one of them mirrored if asked for."""
    picture = interpolate(drawn()[1].pictures[:1], (FRAME, FRAME), mode="bilinear", antialias=True)
    grids = transform(similarity_matrix(TURN), identity_grid(FRAME, FRAME).unsqueeze(0))
    copies = sample(picture.expand(3, -1, -1, -1), grids)
    if mirrored is not None:
        copies[mirrored] = copies[mirrored].flip(-1)
    return copies


@pytest.mark.parametrize(("mirrored", "reference"), [(None, 0), (None, 2), (0, 2), (1, 0), (1, 2)])
def test_pictures_are_aligned_to_a_reference(mirrored: int | None, reference: int) -> None:
    start = search_alignment(views_of(turned_copies(mirrored)), flips=True, anchors=torch.arange(3) == reference)
    assert torch.equal(start.matrices[reference], similarity_matrix(TURN[:1])[0])
    assert start.mirrored.nonzero().flatten().tolist() == ([] if mirrored is None else [mirrored])
    assert float(start.trust[reference]) == float(start.trust.max())
    true = invert(similarity_matrix(TURN))
    expected = compose(true, invert(true[reference : reference + 1]))
    points = 0.4 * identity_grid(4, 4).unsqueeze(0)
    gap = transform(start.matrices, points.expand(3, -1, -1, -1)) - transform(expected, points.expand(3, -1, -1, -1))
    assert float(gap.norm(dim=-1).max()) < 0.15


@pytest.mark.parametrize("mirrored", [False, True])
def test_relations_do_not_depend_on_which_of_a_pair_is_mirrored(mirrored: bool) -> None:
    pictures = turned_copies(0 if mirrored else None)
    coarse = CoarseViews(views_of(pictures))
    anchors = torch.tensor([False, True, True])
    usual = pair_peaks(describe_bank(coarse, flips=True))
    anchored = pair_peaks(describe_bank(coarse, flips=True, anchors=anchors), anchors=anchors)
    assert usual.mirrored is not None
    assert anchored.mirrored is not None
    table, other = (usual.mirrored, anchored.mirrored) if mirrored else (usual.as_is, anchored.as_is)
    for at in ((0, 1), (0, 2)):
        assert float((table.factor[at] / other.factor[at]).log().abs()) < 0.5
        carried = other.factor[at] * (table.source[at] - other.source[at]) + other.target[at]
        assert float((carried - table.target[at]).abs()) < 0.2
    assert float(anchored.as_is.weights[1, 2]) == 0


def test_a_blank_and_a_small_picture_do_no_harm() -> None:
    pictures = drawn()[1].pictures
    rgb = [image.rgb for image in drawn()[0].images[:4]]
    tiny = np.asarray(interpolate(pictures[4:5], (48, 64), antialias=True, mode="bilinear")[0].permute(1, 2, 0) * 255)
    rgb += [np.full((90, 128, 3), 127, np.uint8), tiny.astype(np.uint8)]
    frames = letterboxed(rgb, FRAME, "cpu")
    start = search_alignment(views_of(frames.pictures, frames.valid(CELLS)), flips=True)
    assert torch.isfinite(start.matrices).all()
    assert torch.isfinite(start.trust).all()
    assert not start.belongs[4]
    assert start.belongs[:4].all()


def test_the_same_picture_twice_lies_on_itself() -> None:
    pictures = drawn()[1].pictures[:1].expand(2, -1, -1, -1)
    start = search_alignment(views_of(pictures), flips=True)
    assert not start.mirrored.any()
    torch.testing.assert_close(start.matrices[0], start.matrices[1], atol=0.03, rtol=0)
    again = search_alignment(views_of(pictures), flips=True)
    assert torch.equal(start.matrices, again.matrices)


def test_nothing_but_blank_pictures_is_refused() -> None:
    with pytest.raises(NothingInCommonError, match="share nothing"):
        search_alignment(views_of(torch.full((3, 3, FRAME, FRAME), 0.5)), flips=True)
