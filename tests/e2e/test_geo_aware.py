"""An adapter is trained over HTTP, and another job describes its images with it."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from pydantic import JsonValue

from client.sdk import Congeal
from tests.e2e.running import Up

NAMES = ["left ear", "right ear", "nose"]
SIDE = 96


def write_faces(folder: Path, count: int) -> tuple[list[Path], dict[str, object]]:
    """Faces with two unlike ears, and where these and the nose are."""
    folder.mkdir()
    draw_numbers = np.random.default_rng(0)
    paths, images = [], {}
    for index in range(count):
        picture = Image.new("RGB", (SIDE, SIDE), (90, 100, 110 + index))
        draw = ImageDraw.Draw(picture)
        x, y = draw_numbers.uniform(40, 56, size=2)
        places = [(x - 18, y - 18), (x + 18, y - 18), (x, y + 4)]
        draw.circle((x, y), 24, fill=(220, 180, 60))
        for place, colour, radius in zip(places, ("red", "blue", "black"), (9, 9, 4), strict=True):
            draw.circle(place, radius, fill=colour)
        paths.append(folder / f"face-{index}.png")
        picture.save(paths[-1])
        box = [x - 28, y - 28, x + 28, y + 26]
        images[paths[-1].name] = {"keypoints": [[*place, 2] for place in places], "box": box}
    return paths, {"categories": {"face": {"names": NAMES}}, "images": images}


def test_an_adapter_serves_another_job(up: Up, tmp_path: Path) -> None:
    up.first_line()
    paths, annotations = write_faces(tmp_path / "faces", 5)
    (tmp_path / "faces.json").write_text(json.dumps(annotations))
    with Congeal(up.url) as congeal:
        told = congeal.validate("geo_aware_adapter", paths=paths, annotations=tmp_path / "faces.json")
        assert told.annotations is not None
        assert told.annotations.categories["face"].mirror_pairs == [(0, 1)]  # type: ignore[union-attr]
        training: dict[str, JsonValue] = {"steps": 4, "batch_images": 2, "width": 32}
        trained = congeal.submit(
            "geo_aware_adapter",
            paths=paths,
            annotations=tmp_path / "faces.json",
            params={"grid": 16, "test_share": 0.4, "training": training},
        )
        trained = congeal.wait(trained)
        assert trained.error is None
        congeal.fetch(trained, tmp_path / "trained")
        report = json.loads((tmp_path / "trained" / "pck_report.json").read_bytes())
        assert len(report["split"]["test"]) == 2
        assert report["test"]["after"]["standard"]["points"] == 6
        job = congeal.submit(
            "geo_aware",
            paths=paths,
            annotations=tmp_path / "faces.json",
            params={"adapter": trained.id, "grid": 16, "pairs": [[0, 1], [1, 0], [4, 2]]},
        )
        job = congeal.wait(job)
        assert job.error is None
        assert job.params["backbone"] == trained.params["backbone"]
        sources = [image.id for image in job.inputs.images]
        carried = congeal.transfer(job, source=sources[0], points=[(48.0, 48.0)])
        known = {target.target: target.points[0] is not None for target in carried.targets}
        assert known == {sources[1]: True, sources[2]: False, sources[3]: False, sources[4]: False}
        assert len(congeal.annotations(job).images) == 5
