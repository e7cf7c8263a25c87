"""Fields to meshes."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.workers.methods.congealing_3d.generate.volumes import Both, Ellipsoid
from workers.methods.base import UnfitImagesError
from workers.methods.congealing_3d.generate.field import Volume
from workers.methods.congealing_3d.generate.marching import Marching
from workers.methods.congealing_3d.generate.meshing import Meshed, agreement, mesh_of
from workers.methods.congealing_3d.generate.options import MeshOptions

OPTIONS = MeshOptions(coarse=48, fine=64)
FIRM = Ellipsoid((0.4, 0.2, 0.3), (0.05, 0.0, -0.02), thickness=1000.0, sharpness=150.0)


@functools.cache
def meshed(volume: Volume, options: MeshOptions = OPTIONS) -> Meshed:
    return mesh_of(volume, options, Marching(256), torch.device("cpu"), lambda: None)


def test_the_mesh_is_the_solids_surface_in_the_canonical_frame() -> None:
    found = meshed(FIRM)
    mesh, report = found.mesh, found.report
    assert np.allclose(mesh.bounds.mean(axis=0), 0, atol=1e-6)
    assert np.linalg.norm(mesh.vertices, axis=1).max() == pytest.approx(0.5, abs=1e-5)
    field_frame = mesh.vertices / report["scale"] + np.array(report["centre"])
    assert np.allclose(report["centre"], FIRM.centre, atol=0.01)
    radius = np.linalg.norm((field_frame - np.array(FIRM.centre)) / np.array(FIRM.axes), axis=1)
    # Density 25 of 1000 lies a little outside of the middle of the skin.
    assert radius == pytest.approx(1 + np.log(1000 / 25 - 1) / 150, abs=0.02)
    assert found.warnings == ()
    assert (report["threshold"], report["parts"], report["is_watertight"]) == (25.0, 1, True)
    assert report["dominance"] == 1.0
    assert report["silhouette_agreement"] > 0.95


def test_faces_look_outward_and_enclose_the_solids_volume() -> None:
    mesh, report = (found := meshed(FIRM)).mesh, found.report
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    normals, middles = np.cross(b - a, c - a), (a + b + c) / 3
    big = np.linalg.norm(normals, axis=1) > 1e-9
    assert ((normals * middles).sum(axis=1)[big] > 0).mean() > 0.999
    expected = 4 / 3 * np.pi * 0.4 * 0.2 * 0.3 * report["scale"] ** 3
    assert report["volume"] == pytest.approx(expected * 1.03**3, rel=0.03)


def test_colours_are_those_of_the_field() -> None:
    found = meshed(FIRM)
    field_frame = found.mesh.vertices / found.report["scale"] + np.array(found.report["centre"])
    assert found.mesh.colours is not None
    assert np.abs(found.mesh.colours / 255 - (field_frame + 0.5).clip(0, 1)).max() < 0.01


def test_crumbs_are_dropped_and_pieces_told_of() -> None:
    place = (0.32, 0.16, 0.26)
    whole = meshed(Both(FIRM, Ellipsoid((0.02, 0.02, 0.02), place, 400.0, 10.0)))
    assert whole.report["parts"] == 1
    assert 0.98 < whole.report["dominance"] < 1
    vertices = whole.mesh.vertices / whole.report["scale"] + np.array(whole.report["centre"])
    assert np.linalg.norm(vertices - np.array(place), axis=1).min() > 0.04
    twin = replace(FIRM, axes=(0.2, 0.1, 0.2), centre=(0.0, 0.37, 0.0))
    halves = meshed(Both(replace(FIRM, axes=(0.2, 0.12, 0.2)), twin))
    assert halves.report["parts"] == 2
    assert "2 pieces" in halves.warnings[0]


def test_a_faint_field_is_cut_at_a_lower_density() -> None:
    found = meshed(replace(FIRM, thickness=12.0, sharpness=80.0))
    assert found.report["threshold"] == 6.25
    assert found.report["silhouette_agreement"] > 0.9


def test_a_solid_that_leaves_the_cube_is_closed_at_its_sides() -> None:
    found = meshed(replace(FIRM, axes=(0.7, 0.2, 0.3)))
    assert found.report["is_watertight"]
    assert found.mesh.bounds[1, 0] / found.report["scale"] == pytest.approx(0.5, abs=0.03)


def test_an_empty_field_is_refused_with_what_to_do() -> None:
    with pytest.raises(UnfitImagesError, match=r"no solid shape: .*nowhere denser than 0.5.*another seed, more steps"):
        meshed(replace(FIRM, thickness=0.5))


def test_agreement_is_the_mean_overlap() -> None:
    first, second = torch.zeros(2, 4, 4, dtype=torch.bool), torch.zeros(2, 4, 4, dtype=torch.bool)
    first[0, :2], second[0, 1:3], first[1, 0], second[1, 0] = True, True, True, True
    assert agreement(first, second) == pytest.approx((1 / 3 + 1) / 2)
