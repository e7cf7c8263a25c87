from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, cosine_similarity, max_pool2d

from alignment.pairwise import PairwiseMaps
from alignment.scores import AnnotatedImage, PckReport, pck
from api_schemas.backbones import FeatureOptions
from api_schemas.methods.nearest_neighbors import Matcher, NearestNeighborsParams
from workers.backbones.base import Backbone, Tick, no_tick
from workers.backbones.registry import DEFAULT_OPTIONS
from workers.evaluation.oracle import KnownPicture, OracleBackbone, OracleProvider, known_pictures
from workers.evaluation.synthetic import SyntheticSet, sample_set
from workers.evaluation.template_set import IMAGE_SIZE, TemplateSet, template_set
from workers.imaging.frames import letterboxed
from workers.methods.base import InputImage
from workers.methods.nearest_neighbors.pipeline import NearestNeighbors
from workers.run_context import Run

SIZE = 128
COUNT = 4
SETS = ("reef fish", "template")
MATCHERS: tuple[Matcher, ...] = ("nearest", "soft_argmax", "window_soft_argmax")


@cache
def drawn(name: str) -> SyntheticSet | TemplateSet:
    return sample_set(count=COUNT) if name == "reef fish" else template_set()


def annotated(truth: SyntheticSet | TemplateSet) -> dict[int, AnnotatedImage]:
    if isinstance(truth, TemplateSet):
        pairs = zip(truth.keypoints[:COUNT], truth.visible[:COUNT], strict=True)
        return {i: AnnotatedImage(np.column_stack(pair).astype(float), IMAGE_SIZE) for i, pair in enumerate(pairs)}
    known = {}
    for index, image in enumerate(truth.images):
        assert image.bbox is not None
        left, top, right, bottom = image.bbox
        keypoints = np.column_stack([image.keypoints, image.visible]).astype(float)
        known[index] = AnnotatedImage(keypoints, max(right - left, bottom - top))
    return known


def score(name: str, matcher: Matcher = "nearest", *, noise: float = 0.0) -> PckReport:
    pictures = known_pictures(drawn(name))[:COUNT]
    oracle = OracleBackbone(pictures, size=SIZE, noise=noise)
    images = [InputImage(f"{index}.png", picture.rgb) for index, picture in enumerate(pictures)]
    params = NearestNeighborsParams(working_size=SIZE, matcher=matcher)
    result = NearestNeighbors(OracleProvider(oracle)).run(images, params, Run.local())
    assert result.backbone == "oracle"
    return pck(result.form, annotated(drawn(name)), [0.1, 0.05])


@pytest.mark.parametrize("matcher", MATCHERS)
@pytest.mark.parametrize("name", SETS)
def test_every_matcher_carries_every_keypoint(name: str, matcher: Matcher) -> None:
    report = score(name, matcher)
    assert report.points >= 140
    assert report.scores[0].per_point == 1.0
    assert report.scores[1].per_point == 1.0


class Spotlight(OracleBackbone):
    """A class token that attends to the object."""

    def extract(self, images: Tensor, *, tick: Tick = no_tick) -> Tensor:
        return (super().extract(images, tick=tick).abs().sum(dim=1, keepdim=True) > 0).float()


class SeeingProvider(OracleProvider):
    """Gives the spotlight where attention is asked for."""

    def __init__(self, pictures: list[KnownPicture]) -> None:
        super().__init__(OracleBackbone(pictures, size=SIZE))
        self._spotlight = Spotlight(pictures, size=SIZE)

    def get(self, choice: str, options: FeatureOptions = DEFAULT_OPTIONS) -> Backbone:
        return self._spotlight if options.facet == "attention" else super().get(choice, options)


def test_cosegmentation_leaves_the_background_out() -> None:
    pictures = known_pictures(drawn("template"))[:COUNT]
    images = [InputImage(f"{index}.png", picture.rgb) for index, picture in enumerate(pictures)]
    params = NearestNeighborsParams(working_size=SIZE, backbone="dino_vits8", saliency="cosegmentation")
    form = NearestNeighbors(SeeingProvider(pictures)).run(images, params, Run.local()).form
    assert isinstance(form, PairwiseMaps)
    for (source, target), points in form.maps.items():
        found = np.isfinite(points).all(axis=-1)
        covered = adaptive_avg_pool2d(torch.from_numpy(pictures[source].mask).float().unsqueeze(0), 32)
        wanted, near = covered[0].numpy() > 0.5, max_pool2d(covered, 5, 1, 2)[0].numpy() > 0
        assert (found & wanted).sum() > 0.8 * wanted.sum()
        assert not (found & ~near).any()
        assert (form.confidence[source, target][~found] == 0).all()


def test_cosegmentation_needs_attention() -> None:
    pictures = known_pictures(drawn("template"))[:COUNT]
    images = [InputImage(f"{index}.png", picture.rgb) for index, picture in enumerate(pictures)]
    params = NearestNeighborsParams(working_size=SIZE, backbone="dense_descriptor", saliency="cosegmentation")
    with pytest.raises(ValueError, match="needs a class token"):
        NearestNeighbors(SeeingProvider(pictures)).run(images, params, Run.local())


@pytest.mark.parametrize("name", SETS)
def test_noise_costs_accuracy_slowly(name: str) -> None:
    some, much = score(name, noise=1.0).scores, score(name, noise=2.0).scores
    assert some[0].per_point > 0.98
    assert 0.8 < much[0].per_point < some[0].per_point


def test_cosine_falls_with_the_distance_on_the_object_and_the_background_is_nothing() -> None:
    truth = drawn("template")
    assert isinstance(truth, TemplateSet)
    frames = letterboxed([picture.rgb for picture in known_pictures(truth)], SIZE, "cpu")
    features = OracleBackbone(known_pictures(truth), size=SIZE, dim=2048).extract(frames.pictures[:1])[0]
    assert features.shape == (2048, 32, 32)
    places = truth.to_template(0, np.array([[130.0, 130.0], [146.0, 130.0]])) / 2
    cells = features[:, 16, [16, 18]]
    expected = np.exp(-np.square(places[0] - places[1]).sum() / (2 * 0.1**2))
    assert float(cosine_similarity(cells[:, 0], cells[:, 1], dim=0)) == pytest.approx(expected, abs=0.05)
    assert float(features[:, 0, 0].abs().max()) == 0
    torch.testing.assert_close(cells.norm(dim=0), torch.ones(2))


def test_only_learned_frames_are_described() -> None:
    pictures = known_pictures(drawn("template"))
    frames = letterboxed([picture.rgb for picture in pictures], SIZE, "cpu").pictures
    oracle = OracleBackbone(pictures, size=SIZE, noise=0.5)
    both = oracle.extract(frames[:2])
    torch.testing.assert_close(oracle.extract(frames[1:2])[0], both[1])
    with pytest.raises(ValueError, match="does not know image 1"):
        oracle.extract(torch.stack([frames[0], frames[0].flip(-1)]))
