import torch
from torch import Tensor

from workers.methods.congealing_3d.maps.matches import nearest_displacements, smooth_start
from workers.methods.congealing_3d.maps.membrane import Membrane

CELLS = 12


def drawn() -> Tensor:
    return torch.randn(1, 16, CELLS, CELLS, generator=torch.Generator().manual_seed(0))


def inner() -> Tensor:
    mask = torch.zeros(1, 1, CELLS, CELLS)
    mask[..., 3:9, 3:9] = 1
    return mask


def moved(maps: Tensor) -> Tensor:
    """Two cells to the right and one up."""
    return maps.roll((-1, 2), dims=(2, 3))


def test_features_are_found_where_they_went() -> None:
    found, trust = nearest_displacements(drawn()[0], inner()[0], moved(drawn())[0], moved(inner())[0])
    cells = found * CELLS / 2
    assert (trust == inner()[0]).all()
    torch.testing.assert_close(cells.round(), torch.tensor([2.0, -1.0])[:, None, None] * inner()[0])


def test_a_smooth_start_leaves_wrong_matches_behind() -> None:
    features, mask = drawn(), inner()
    spoilt = features.clone()
    spoilt[..., 5, 5] = features[..., 8, 3]
    start = smooth_start(spoilt, mask, moved(features), moved(mask), Membrane.over(features, mask))
    cells = start[0] * CELLS / 2
    assert (cells[:, 5, 5] - torch.tensor([2.0, -1.0])).norm() < 0.5
    assert (cells[:, 3:9, 3:9] - torch.tensor([2.0, -1.0])[:, None, None]).norm(dim=0).max() < 0.7


def test_an_image_without_an_object_starts_unwarped() -> None:
    nothing = torch.zeros_like(inner())
    start = smooth_start(drawn(), nothing, moved(drawn()), moved(inner()), Membrane.over(drawn(), nothing))
    assert (start == 0).all()
