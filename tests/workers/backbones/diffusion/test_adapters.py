"""An adapter on features of several blocks, diffusion's and a transformer's, each on its own grid."""

from pathlib import Path

import numpy as np
from torch import Tensor

from api_schemas.backbones import FeatureOptions
from api_schemas.keypoints.schema import KeypointSchema
from api_schemas.methods.geo_aware import GeoAwareParams
from api_schemas.methods.geo_aware_adapter import GeoAwareAdapterParams
from tests.workers.backbones.diffusion.test_fusion import PatchMeans
from tests.workers.backbones.diffusion.tiny import picture
from workers.backbones.base import Backbone
from workers.backbones.cache import FeatureCache
from workers.backbones.diffusion.fusion import SdDinoBackbone
from workers.backbones.diffusion.multilayer import SdBackbone
from workers.backbones.diffusion.stable_diffusion import StableDiffusion
from workers.backbones.registry import DEFAULT_OPTIONS, BackboneProvider
from workers.methods.base import Annotation, InputImage
from workers.methods.export import export
from workers.methods.geo_aware.pipeline import GeoAware
from workers.methods.geo_aware_adapter.pipeline import GeoAwareAdapter
from workers.run_context import Run

GRID = 16
SCHEMA = KeypointSchema(names=["left", "right", "middle"], mirror_pairs=[(0, 1)], groups=[[0, 1]])


class Fused(BackboneProvider):
    """Knows one backbone."""

    def __init__(self, backbone: Backbone, cache: FeatureCache) -> None:
        super().__init__(cache=cache)
        self._backbone = backbone

    def get(self, choice: str, options: FeatureOptions = DEFAULT_OPTIONS) -> Backbone:
        del choice, options
        return self._backbone


def images(count: int) -> list[InputImage]:
    keypoints = np.array([[60.0, 100.0, 1], [190.0, 100.0, 1], [128.0, 160.0, 1]])
    known = Annotation("thing", SCHEMA, keypoints, box=(30.0, 40.0, 220.0, 210.0))
    return [
        InputImage(f"{index}.png", _pixels(picture(256, 256, 0.4 * index)), annotation=known) for index in range(count)
    ]


def _pixels(frame: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return (frame[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)


def test_an_adapter_of_four_blocks_is_trained_and_used(diffusion: StableDiffusion, tmp_path: Path) -> None:
    fused = SdDinoBackbone(SdBackbone(diffusion, FeatureOptions()), PatchMeans())
    backbones, shown = Fused(fused, FeatureCache(tmp_path / "cache", max_bytes=10**9)), images(4)
    training = {"steps": 2, "batch_images": 2, "width": 32}
    params = GeoAwareAdapterParams.model_validate({"grid": GRID, "test_share": 0.5, "training": training, "blend": 0.5})
    trained = GeoAwareAdapter(backbones).run(shown, params, Run.local())
    config = trained.documents["adapter/config"]
    assert isinstance(config, dict)
    assert config["channels"] == [*fused.block_channels]
    export(trained, shown, tmp_path / "trained")
    run = Run.local()
    run.used = {"adapter": tmp_path / "trained"}
    adapted = GeoAware(backbones).run(
        shown, GeoAwareParams(adapter="job_01k8zd6c2q4x7v9m3n5p8r0s1t", grid=GRID, variants=["id"]), run
    )
    assert trained.form.maps  # type: ignore[union-attr]
    for pair, places in trained.form.maps.items():  # type: ignore[union-attr]
        np.testing.assert_allclose(adapted.form.maps[pair], places, atol=0.05)  # type: ignore[union-attr]
