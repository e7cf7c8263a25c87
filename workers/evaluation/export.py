"""Write a synthetic set as pictures and truth files that need none of this code to be read."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image
from safetensors.numpy import save_file

from workers.evaluation.synthetic import SyntheticImage, SyntheticSet


def write_sample_set(folder: Path, sample: SyntheticSet) -> list[Path]:
    """Write pictures, keypoints and dense truth; return the picture files in order.

    `images/NN_name.png` are the pictures. `truth.json` lists file, width, height, bbox (null without an object)
    and keypoints [x, y, visible] in continuous pixels. `truth/NN_name.safetensors` holds `canonical`, float32
    (H, W, 2), NaN off the object.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "truth").mkdir(exist_ok=True)
    for image in sample.images:
        Image.fromarray(image.rgb).save(_picture(folder, image), optimize=True)
        save_file({"canonical": image.canonical}, folder / "truth" / f"{image.name}.safetensors")
    truth = {
        "keypoint_names": list(sample.keypoint_names),
        "images": [_entry(folder, image) for image in sample.images],
    }
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")
    return [_picture(folder, image) for image in sample.images]


def _picture(folder: Path, image: SyntheticImage) -> Path:
    return folder / "images" / f"{image.name}.png"


def _entry(folder: Path, image: SyntheticImage) -> dict[str, object]:
    width, height = image.size
    points = [
        [round(float(x), 3), round(float(y), 3), 1] if seen else [0.0, 0.0, 0]
        for (x, y), seen in zip(image.keypoints, image.visible, strict=True)
    ]
    return {
        "file": _picture(folder, image).relative_to(folder).as_posix(),
        "width": width,
        "height": height,
        "bbox": None if image.bbox is None else [round(edge, 3) for edge in image.bbox],
        "keypoints": points,
    }
