import numpy as np
import pytest

from api_schemas.methods.nearest_neighbors import NearestNeighborsParams
from api_schemas.methods.neural_congealing import NeuralCongealingParams
from workers.backbones.registry import BackboneProvider
from workers.methods.base import InputImage
from workers.methods.nearest_neighbors.pipeline import NearestNeighbors
from workers.methods.neural_congealing.pipeline import NeuralCongealing
from workers.run_context import Run


def blank(name: str, height: int) -> InputImage:
    return InputImage(name, np.full((height, 90, 3), 128, dtype=np.uint8))


def noisy(name: str) -> InputImage:
    return InputImage(name, np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8))


def test_images_that_show_nothing_are_refused_by_name() -> None:
    images = [blank("grey.png", 60), noisy("noise.png"), blank("flat.png", 70)]
    provider = BackboneProvider()
    with pytest.raises(ValueError, match=r"take them out of the set: grey\.png, flat\.png$"):
        NeuralCongealing(provider).run(images, NeuralCongealingParams(backbone="dense_descriptor"), Run.local())
    with pytest.raises(ValueError, match=r"take them out of the set: grey\.png, flat\.png$"):
        NearestNeighbors(provider).run(images, NearestNeighborsParams(backbone="dense_descriptor"), Run.local())
