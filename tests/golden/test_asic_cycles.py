"""k-cycle PCK on the tiny input of ASIC's official code (arXiv 2303.16201), with thresholds at the right points."""

import numpy as np

from alignment.cycles import walked
from alignment.pairwise import PairwiseMaps
from alignment.sampling import ImageSize, cell_centres
from alignment.scores import AnnotatedImage

SIZE = ImageSize(100, 100)
HOPS = {(0, 1): (20, 0), (1, 0): (-20, 3), (1, 2): (-20, 40), (2, 1): (20, -40)}
CYCLES = np.array([[0, 1, 0], [1, 2, 1]])


def test_two_cycles_of_three_images() -> None:
    centres = cell_centres(10, 10, SIZE.extent)
    maps = {pair: (centres + offset).astype(np.float32) for pair, offset in HOPS.items()}
    form = PairwiseMaps((SIZE,) * 3, maps, {pair: np.ones((10, 10)) for pair in HOPS})
    annotated = {
        0: AnnotatedImage(np.array([[10.0, 10, 1], [20, 20, 1]]), side_px=10),
        1: AnnotatedImage(np.array([[30.0, 10, 1], [40, 20, 1]]), side_px=20),
        2: AnnotatedImage(np.array([[10.0, 50, 1], [20, 60, 0]]), side_px=40),
    }
    stops = walked(form, annotated, CYCLES)
    assert stops.counted.swapaxes(0, 1).reshape(4, 2).tolist() == [[1, 1], [1, 0], [1, 1], [1, 0]]
    np.testing.assert_allclose(stops.errors[0, 1], 0.3, atol=1e-5)
    for alpha in np.arange(1, 11) / 100:
        assert round((stops.errors[stops.counted] <= alpha).mean(), 7) == 0.6666667
