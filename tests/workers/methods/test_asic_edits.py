"""Paint carried by fitted maps, against the truth of the analytic set."""

import numpy as np
import numpy.typing as npt
import torch

from alignment.atlas import Atlas
from alignment.edits import propagate
from alignment.layers import Layer
from tests.workers.methods.analytic import SIZE, paired, truth
from workers.backbones.base import no_tick
from workers.evaluation.analytic_set import IMAGES
from workers.imaging.frames import letterboxed
from workers.methods.asic.alignment import fit_matches
from workers.methods.asic.canonical_maps import canonical_maps, spline_places
from workers.methods.asic.outcome.maps import atlas_form

RADIUS = 0.35


def fitted_form() -> Atlas:
    """Maps from matches of which a fifth is wrong."""
    found = fit_matches(paired(0.2), IMAGES)
    maps = canonical_maps(spline_places(found.controls, SIZE), found.mirrored, size=SIZE, atlas_size=128, tick=no_tick)
    frames = letterboxed(
        [(picture * 100 + 128).clip(0, 255).astype(np.uint8) for picture in truth().pictures], SIZE, "cpu"
    )
    return atlas_form(maps, frames, torch.ones(IMAGES, 64, 64), torch.ones(128, 128), no_tick)


def true_disc(image: int) -> npt.NDArray[np.bool_]:
    """Where a disc of the true plane lies in a picture."""
    inside: npt.NDArray[np.bool_] = np.linalg.norm(truth().canonical[image], axis=-1) < RADIUS
    return inside


def test_a_painted_disc_lands_where_it_belongs_in_every_picture() -> None:
    form = fitted_form()
    overlaps = []
    for source in range(0, IMAGES, 3):
        painted = np.zeros((SIZE, SIZE, 4), dtype=np.uint8)
        painted[true_disc(source)] = 255
        for target in set(range(IMAGES)) - {source}:
            carried = propagate(form, Layer(painted), source=source, target=target, size=form.images[target])
            landed, wanted = carried[..., 3] > 127, true_disc(target)
            overlaps.append((landed & wanted).sum() / (landed | wanted).sum())
    assert np.mean(overlaps) >= 0.95
    assert min(overlaps) >= 0.9
