"""Meshes with what they refer to, sent by the SDK and the command; and questions in space to a result."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from alignment.shape import Shape
from api_schemas.jobs import Job
from client.cli import app
from client.errors import ProblemError
from client.meshes import packed
from client.sdk import Congeal
from service.dependencies import Services
from tests.alignment.shapes import SIZE, ball, on_ball
from tests.service.meshes import PAINTED, TETRAHEDRON, TEXTURED, picture, ply, png_of
from tests.service.pictures import encoded, plain
from tests.service.results import succeed
from tests.service.servers import serving_thread
from tests.service.shared import small_app


@dataclass(frozen=True)
class Served:
    """A service and a connection to it."""

    url: str
    congeal: Congeal
    services: Services


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Served]:
    service = small_app(tmp_path_factory.mktemp("data"), sqlite_template)
    with serving_thread(service) as url, Congeal(url) as congeal:
        yield Served(url, congeal, service.state.services)


@pytest.fixture(scope="module")
def shape() -> Shape:
    return ball()


@pytest.fixture(scope="module")
def job(served: Served, shape: Shape, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job whose result is a ball."""
    folder = tmp_path_factory.mktemp("pictures")
    for colour in ("teal", "olive", "silver"):
        (folder / f"{colour}.png").write_bytes(encoded(plain(colour, (SIZE.width, SIZE.height))))
    made = served.congeal.submit("nearest_neighbors", paths=[folder])
    succeed(served.services, shape, tmp_path_factory.mktemp("shape"))
    return served.congeal.get(made)


@pytest.fixture
def square(tmp_path: Path) -> Path:
    """An OBJ with its material and its texture in a folder beside it."""
    (tmp_path / "tex").mkdir()
    (tmp_path / "square.obj").write_text(TEXTURED)
    (tmp_path / "square.mtl").write_text(PAINTED.replace("square.png", "-s 1 1 1 tex\\square.png"))
    (tmp_path / "tex" / "square.png").write_bytes(png_of(picture()))
    return tmp_path / "square.obj"


def names_in(content: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.namelist()


def test_an_obj_takes_its_material_and_its_texture_along(square: Path) -> None:
    name, content = packed(square)
    assert name == "square.zip"
    assert names_in(content) == ["square.obj", "square.mtl", "tex/square.png"]
    assert packed(square)[1] == content


def test_a_mesh_that_refers_to_nothing_goes_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(TETRAHEDRON)
    assert packed(tmp_path / "a.obj") == ("a.obj", TETRAHEDRON.encode())


def test_a_ply_takes_its_texture_along(tmp_path: Path) -> None:
    textured = ply().replace(b"element vertex", b"comment TextureFile skin.png\nelement vertex")
    (tmp_path / "a.ply").write_bytes(textured)
    assert packed(tmp_path / "a.ply") == ("a.ply", textured)
    (tmp_path / "skin.png").write_bytes(png_of(picture()))
    assert names_in(packed(tmp_path / "a.ply")[1]) == ["a.ply", "skin.png"]


def test_no_file_is_taken_along_that_is_no_part_of_a_mesh(tmp_path: Path) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    (tmp_path / "outside.mtl").write_text(PAINTED)
    (folder / "secret").write_text("secret")
    for reference in ("secret", "../outside.mtl", str(tmp_path / "outside.mtl")):
        (folder / "a.obj").write_text(f"mtllib {reference}\n" + TETRAHEDRON)
        assert packed(folder / "a.obj")[0] == "a.obj"
    (folder / "a.obj").write_text("mtllib a.mtl\n" + TETRAHEDRON)
    (folder / "a.mtl").write_text("newmtl x\nmap_Kd secret\n")
    assert names_in(packed(folder / "a.obj")[1]) == ["a.obj", "a.mtl"]


def test_a_mesh_is_uploaded_listed_and_known_again(served: Served, square: Path) -> None:
    mesh = served.congeal.upload_mesh(square)
    assert (mesh.name, mesh.colours, mesh.faces, mesh.warnings) == ("square.obj", "texture", 2, [])
    assert served.congeal.upload_mesh(square, name="again") == mesh
    assert mesh in list(served.congeal.meshes())
    with pytest.raises(FileNotFoundError, match="give a GLB, OBJ, PLY or ZIP file"):
        served.congeal.upload_mesh(square.parent / "nowhere.glb")


def test_all_meshes_are_listed_page_after_page(served: Served, tmp_path: Path) -> None:
    before = len(list(served.congeal.meshes()))
    sent = []
    for index in range(52):
        path = tmp_path / f"{index}.obj"
        path.write_text(f"# {index}\n{TETRAHEDRON}")
        sent.append(served.congeal.upload_mesh(path).id)
    listed = [mesh.id for mesh in served.congeal.meshes()]
    assert len(listed) == before + 52
    assert listed[:52] == sent[::-1]


def test_a_file_that_is_no_mesh_is_refused_with_its_name(served: Served, tmp_path: Path) -> None:
    (tmp_path / "notes.glb").write_text("not a mesh")
    with pytest.raises(ProblemError, match=r"notes\.glb") as caught:
        served.congeal.upload_mesh(tmp_path / "notes.glb")
    assert caught.value.problem.code == "unsupported-mesh"


def test_the_command_prints_the_id_and_says_what_is_missing(served: Served, square: Path, tmp_path: Path) -> None:
    environment = {"CONGEAL_URL": served.url, "COLUMNS": "200"}
    made = CliRunner().invoke(app, ["meshes", "upload", str(square), "--name", "a square"], env=environment)
    assert made.exit_code == 0, made.output
    assert made.stdout.splitlines()[-1].startswith("msh_")
    assert "2 faces, colours: texture" in made.stderr
    bare = tmp_path / "bare.obj"
    bare.write_text(TETRAHEDRON)
    assert (
        "warning: It has no colours" in CliRunner().invoke(app, ["meshes", "upload", str(bare)], env=environment).stderr
    )
    listed = CliRunner().invoke(app, ["meshes", "list", "--limit", "1"], env=environment)
    assert listed.exit_code == 0
    assert "bare.obj" in listed.stdout
    assert "square" not in listed.stdout
    gone = CliRunner().invoke(app, ["meshes", "upload", str(tmp_path / "nowhere.obj")], env=environment)
    assert gone.exit_code == 2
    assert "nowhere.obj" in gone.stderr


def test_points_go_to_the_shape_and_back(served: Served, job: Job) -> None:
    first = job.inputs.images[0].id
    lifted = served.congeal.lift(job, image=first, points=[(200.0, 150.0), (2.0, 2.0)])
    assert lifted.points[1] is None
    place = lifted.points[0]
    assert place is not None
    assert np.linalg.norm(place) == pytest.approx(0.5, abs=0.01)
    found = served.congeal.project(job, points=[place], targets=[first]).targets[0]
    assert found.visible == [True]
    assert np.allclose(found.points[0] or 0, (200, 150), atol=0.5)
    everywhere = served.congeal.project(job, points=[tuple(on_ball(np.array([0.02, 0.5])))])
    assert [target.target for target in everywhere.targets] == [image.id for image in job.inputs.images]


def test_poses_are_scored(served: Served, job: Job, shape: Shape) -> None:
    cameras = {
        image.id: {"camera_to_world": camera.to_world.tolist()}
        for image, camera in zip(job.inputs.images, shape.cameras, strict=True)
        if camera is not None
    }
    scores = served.congeal.evaluate_poses(job, cameras=cameras, alignment="barf", symmetries=[np.eye(3).tolist()])
    assert (scores.images, scores.missing, scores.alignment) == (3, 0, "barf")
    assert scores.mean_rotation_deg < 1e-3
    with pytest.raises(ProblemError, match="at least 3"):
        served.congeal.evaluate_poses(job, cameras=dict(list(cameras.items())[:2]), alignment="barf")
