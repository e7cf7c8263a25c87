"""Values computed with the official implementation of Neural Congealing (arXiv 2302.03956) on tiny inputs."""

import pytest
import torch
from torch import Tensor

from workers.geometry.coordinates import cell_centres, identity_grid, index_to_normalised, normalised_to_index, sample
from workers.geometry.letterbox import Letterbox
from workers.geometry.similarity import (
    inverse_parameters,
    parameters_from_raw,
    similarity_matrix,
    similarity_parameters,
    transform,
)
from workers.methods.neural_congealing.losses import feature_distance, huber

ABSOLUTE = 2e-5
RAW = torch.tensor([[0.1, -0.2, 0.3, -0.4], [-0.5, 0.25, 0.0, 0.1]])
MATRICES = torch.tensor(
    [
        [[0.778923, -0.252189, 0.3], [0.252189, 0.778923, -0.4]],
        [[0.152455, 1.274943, 0.0], [-1.274943, 0.152455, 0.1]],
    ]
)
INVERSES = torch.tensor(
    [
        [[1.162016, 0.376222, -0.198116], [-0.376222, 1.162016, 0.577673]],
        [[0.092468, -0.773292, 0.077329], [0.773292, 0.092468, -0.009247]],
    ]
)


def close(actual: Tensor, expected: object) -> None:
    torch.testing.assert_close(actual, torch.as_tensor(expected), atol=ABSOLUTE, rtol=0)


def test_coordinates() -> None:
    index = torch.tensor([0, 1, 63.5, 127, 255])
    close(index_to_normalised(index, size=256), [-0.996094, -0.988281, -0.5, -0.003906, 0.996094])
    stretched = index_to_normalised(torch.tensor([0, 63.5, 127]), size=256, out_size=128)
    close(stretched, [-0.996094, 0.0, 0.996094])
    close(cell_centres(4), [-0.75, -0.25, 0.25, 0.75])
    close(normalised_to_index(torch.tensor([-1.0, 0.0, 1.0]), size=256), [-0.5, 127.5, 255.5])


def test_similarity_from_raw_outputs() -> None:
    parameters = parameters_from_raw(RAW)
    close(parameters, [[0.313116, 0.818731, 0.3, -0.4], [-1.451784, 1.284025, 0.0, 0.1]])
    close(similarity_matrix(parameters), MATRICES)
    close(similarity_parameters(MATRICES), parameters)
    close(inverse_parameters(parameters), INVERSES)


def test_similarity_moves_points() -> None:
    points = torch.tensor([[[-0.5, 0.25], [0.75, -0.75]]])
    close(transform(MATRICES[:1], points), [[[-0.152509, -0.331364], [1.073334, -0.79505]]])
    close(transform(INVERSES[:1], points), [[[-0.685068, 1.056288], [0.391229, -0.576006]]])


WARPED_ZEROS = [
    [0.200849, 0.847062, 1.886146, 0.964489],
    [0.986056, 2.574409, 4.36209, 3.484951],
    [3.65023, 5.437911, 7.22559, 7.608736],
    [6.513731, 8.301412, 10.089092, 11.876774],
]
WARPED_BORDER = [
    [1.3099, 2.088823, 2.867745, 3.0],
    [1.057711, 2.574409, 4.36209, 5.755291],
    [3.65023, 5.437911, 7.22559, 8.870982],
    [6.513731, 8.301412, 10.089092, 11.876774],
]
WARPED_SMALL = [[1.573267, 3.693067], [5.975821, 9.551181]]


@pytest.mark.parametrize(
    ("padding", "size", "expected"),
    [("zeros", 4, WARPED_ZEROS), ("border", 4, WARPED_BORDER), ("border", 2, WARPED_SMALL)],
)
def test_warp_of_a_ramp(padding: str, size: int, expected: list[list[float]]) -> None:
    ramp = torch.arange(16.0).view(1, 1, 4, 4)
    grid = transform(similarity_matrix(parameters_from_raw(RAW[:1])), identity_grid(size, size).unsqueeze(0))
    close(sample(ramp, grid, padding=padding)[0, 0], expected)


def test_padded_pictures_carry_points() -> None:
    wide = Letterbox(320, 200, 256)
    assert wide.scale == pytest.approx(0.8)
    assert wide.offset == (0, 48)
    close(wide.to_frame(torch.tensor([[100.0, 50.0], [319.0, 199.0]])), [[80.0, 88.0], [255.2, 207.2]])
    close(Letterbox(200, 320, 256).to_frame(torch.tensor([100.0, 50.0])), [128.0, 40.0])


def test_saliency_loss_on_the_reference_maps() -> None:
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    atlas = torch.sigmoid(2 - 0.15 * ((x - 3.5).square() + (y - 3.5).square()))
    masks = torch.stack([torch.sigmoid(1.5 - 0.2 * ((x - 3 - b).square() + (y - 4).square())) for b in (0, 1)])
    valid = torch.ones(2, 8, 8)
    valid[0, :, 0] = 0
    valid[1, 7] = 0.5
    loss = 5000 * (valid * huber(atlas - masks)).sum() / valid.sum()
    assert float(loss) == pytest.approx(146.26086, rel=1e-5)


def test_feature_distances_on_the_reference_maps() -> None:
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    keys = torch.stack([torch.sin(0.3 * x + 0.5 * y + c) for c in range(3)])
    image = torch.stack([torch.cos(0.4 * x - 0.2 * y + c) for c in range(3)])
    unit = keys / keys.norm(dim=0)
    distance = feature_distance(unit.flatten(1), image.flatten(1).unsqueeze(0)).view(8, 8)
    close(distance[0], [0.949155, 1.076221, 1.212649, 1.336866, 1.435663, 1.509534, 1.568396, 1.625296])
