"""Checkpoints of another layout in a weights folder are told, and not taken."""

from pathlib import Path

import pytest

from api_schemas.weights import WeightsEntry, weights_catalogue
from workers.backbones.weights.finding import missing_text
from workers.backbones.weights.folder import WeightsError, open_entry, open_weights
from workers.backbones.weights.strays import stray_text

SD14 = weights_catalogue()["sd14"]


def put(folder: Path, *paths: str) -> None:
    """Write files of a few bytes."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"content")


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("sd-v1-4.ckpt", "a pickle can run any code"),
        ("pytorch_model.bin", "a pickle can run any code"),
        ("model.pt", "a pickle can run any code"),
        ("v1-4.safetensors", "not the layout of the hub"),
    ],
)
def test_a_checkpoint_in_one_file_is_named_with_the_reason_and_what_to_bring(
    tmp_path: Path, file: str, reason: str
) -> None:
    put(tmp_path / "sd14", file)
    with pytest.raises(WeightsError) as caught:
        open_weights("sd14", tmp_path)
    for part in (
        str(tmp_path / "sd14"),
        file,
        reason,
        *(part.path for part in SD14.files),
        "congeal weights pull sd14",
    ):
        assert part in str(caught.value)


def test_a_pickle_beside_the_configuration_is_named_too_and_only_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    put(tmp_path / "sd14", *(file.path for file in SD14.files[:1]), "unet/diffusion_pytorch_model.bin")
    text = missing_text("sd14", SD14, tmp_path)
    assert "holds unet/diffusion_pytorch_model.bin, which is not taken: a pickle" in text
    assert "alike, there: unet/diffusion_pytorch_model.safetensors, vae/config.json, " in text


def test_nothing_is_told_where_nothing_lies_or_all_is_there(entry: WeightsEntry, tmp_path: Path) -> None:
    assert stray_text("tiny", entry, None) is None
    assert stray_text("tiny", entry, tmp_path) is None
    put(tmp_path / "tiny", "notes.txt", "net/model.safetensors")
    assert stray_text("tiny", entry, tmp_path) is None
    put(tmp_path / "tiny", "net/config.json", "old.ckpt")
    assert stray_text("tiny", entry, tmp_path) is None
    assert open_entry("tiny", entry, tmp_path).path == tmp_path / "tiny"


def test_a_file_of_the_entry_at_the_top_is_no_stray(tmp_path: Path) -> None:
    pair = WeightsEntry.model_validate(
        {
            "hub": "tiny/pair",
            "license": "MIT",
            "files": [{"path": "one.safetensors", "bytes": 1}, {"path": "two.safetensors", "bytes": 1}],
        }
    )
    put(tmp_path / "pair", "one.safetensors")
    assert stray_text("pair", pair, tmp_path) is None
    put(tmp_path / "pair", "three.safetensors")
    assert "three.safetensors" in str(stray_text("pair", pair, tmp_path))
