"""A checkpoint of the operator's own finds points over HTTP, and finds them again in images that come later."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import JsonValue

from api_schemas.events import EventType
from client.sdk import Congeal
from tests.e2e.running import Up
from tests.workers.backbones.diffusion.tiny import picture, save_own_checkpoint
from tests.workers.workplace import wait_until

MODEL = "tiny_diffusion"
TUNING: dict[str, JsonValue] = {"rounds": 1, "steps": 3, "crop_bank": 4, "read_crops": 4}
PARAMS: dict[str, JsonValue] = {
    "preset": "cached",
    "working_size": 256,
    "queries": [{"image": 0, "x": 30, "y": 20, "id": "eye"}, {"image": 0, "x": 60.5, "y": 40}],
    "tuning": TUNING,
}


@pytest.fixture(autouse=True)
def _checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Autouse, so that it is there before the service starts."""
    catalogue = save_own_checkpoint(tmp_path / "weights", MODEL)
    monkeypatch.setenv("CONGEAL_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("CONGEAL_WEIGHTS_CATALOGUE", str(catalogue))


def write_pictures(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"picture-{index}.png" for index in range(count)]
    for index, path in enumerate(paths):
        pixels = picture(96, 128, 0.3 * index)[0].permute(1, 2, 0).numpy()
        Image.fromarray((255 * pixels).round().astype(np.uint8)).save(path)
    return paths


def test_points_are_found_and_found_again(up: Up, tmp_path: Path) -> None:
    up.first_line()
    paths = write_pictures(tmp_path / "pictures", 3)
    with Congeal(up.url) as congeal:
        wait_until(
            lambda: congeal.method("sd_correspondence").models == [MODEL], timeout_s=60, what=lambda: "no worker came"
        )
        job = congeal.wait(congeal.submit("sd_correspondence", paths=paths[:2], params=PARAMS))
        assert job.error is None
        assert job.params["model"] == MODEL
        assert [event.data["stage"] for event in congeal.events(job) if event.type is EventType.STAGE] == [
            "encoding",
            "optimisation",
            "transfer",
            "cycle",
            "export",
        ]
        congeal.fetch(job, tmp_path / "found")
        matches = json.loads((tmp_path / "found" / "matches.json").read_bytes())
        assert [(row["id"], len(row["targets"])) for row in matches] == [("eye", 1), (None, 1)]
        assert (tmp_path / "found" / "pictures" / "heat_maps" / "001.png").is_file()
        first, second = (image.id for image in job.inputs.images)
        carried = congeal.transfer(job, source=first, points=[(60.5, 40.0), (5.0, 90.0)]).targets[0]
        place = matches[1]["targets"][0]
        assert carried.points[0] == pytest.approx((place["x"], place["y"]), abs=1e-3)
        assert carried.points[1] is None
        more = congeal.wait(congeal.submit("sd_correspondence", paths=paths[2:], extends=job))
        assert more.error is None
        congeal.fetch(more, tmp_path / "more")
        later = json.loads((tmp_path / "more" / "matches.json").read_bytes())
        assert [row["targets"][0] for row in later] == [row["targets"][0] for row in matches]
        assert [target["image"] for target in later[0]["targets"]] == [1, 2]
        assert carried.target == second
