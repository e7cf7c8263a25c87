"""An operator's own entries of the weights catalogue."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from api_schemas.weights import CatalogueError, diffusion_models, weights_catalogue, weights_for

PARTS = ("unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json")
LAST_PART = "vae/diffusion_pytorch_model.safetensors"


def entry(name: str, *paths: str, family: str = "stable_diffusion") -> str:
    """Write an entry as an operator would."""
    files = "".join(f'[[{name}.files]]\npath = "{path}"\nbytes = 1_000_000\n' for path in paths)
    return f'[{name}]\nhub = "me/{name}"\nlicense = "CC0-1.0"\nfamily = "{family}"\n{files}'


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the setting names; nothing stands in it yet."""
    path = tmp_path / "own.toml"
    path.touch()
    monkeypatch.setenv("CONGEAL_WEIGHTS_CATALOGUE", str(path))
    return path


def test_own_entries_follow_the_built_in_ones(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own.write_text(entry("zebra_sd", *PARTS, LAST_PART) + entry("a_sd", *PARTS, LAST_PART))
    assert list(weights_catalogue())[-2:] == ["zebra_sd", "a_sd"]
    assert diffusion_models() == ["sd15", "sd14", "sd21", "zebra_sd", "a_sd"]
    assert weights_for(["a_sd"]) == ["a_sd"]
    found = weights_catalogue()["a_sd"]
    assert (found.hub, found.revision, found.bytes) == ("me/a_sd", "main", 4_000_000)
    assert all(file.sha256 is None for file in found.files)
    monkeypatch.delenv("CONGEAL_WEIGHTS_CATALOGUE")
    assert "a_sd" not in weights_catalogue()


def test_without_entries_of_ones_own_the_catalogue_is_the_built_in_one(own: Path) -> None:
    with_empty = dict(weights_catalogue())
    own.with_name("unset").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONGEAL_WEIGHTS_CATALOGUE", "")
        assert dict(weights_catalogue()) == with_empty


def test_a_path_may_begin_at_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CONGEAL_WEIGHTS_CATALOGUE", "~/models.toml")
    (tmp_path / "models.toml").write_text(entry("home_sd", *PARTS, LAST_PART))
    assert "home_sd" in weights_catalogue()


def test_a_file_that_is_not_there_is_named(own: Path) -> None:
    own.unlink()
    with pytest.raises(CatalogueError, match=rf"CONGEAL_WEIGHTS_CATALOGUE names {own}, which cannot be read: No such"):
        weights_catalogue()


@pytest.mark.parametrize("content", [b"[sd", b"\xff\xfe"])
def test_what_is_not_toml_is_told_with_the_file(own: Path, content: bytes) -> None:
    own.write_bytes(content)
    with pytest.raises(CatalogueError, match=f"{own} is not TOML: "):
        weights_catalogue()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[my_sd]\nhub = "me/sd"\n', r"entry 'my_sd': license: Field required; files: Field required"),
        ("my_sd = 3\n", r"entry 'my_sd': .*dictionary"),
        (entry("my_sd", *PARTS, LAST_PART, family="gan"), r"entry 'my_sd': family: .*'stable_diffusion'"),
        (entry("my_sd", *PARTS), rf"entry 'my_sd': .*'stable_diffusion' needs the files {LAST_PART} too"),
        (entry("my_sd", *PARTS, LAST_PART, "../else"), r"entry 'my_sd': files\.4\.path: "),
        (entry("sd15", *PARTS, LAST_PART), r"entry 'sd15': this name has a meaning of its own"),
        (entry("sd15_dift", *PARTS, LAST_PART), r"entry 'sd15_dift': this name has a meaning of its own"),
        (entry("auto", *PARTS, LAST_PART), r"entry 'auto': this name has a meaning of its own"),
        (entry("My-SD", *PARTS, LAST_PART), r"entry 'My-SD': a name has up to 64 of the characters a-z"),
    ],
)
def test_an_entry_that_is_not_right_is_named_with_its_file_and_fault(own: Path, text: str, told: str) -> None:
    own.write_text(text)
    with pytest.raises(CatalogueError, match=f"{own}, {told}"):
        weights_catalogue()


@pytest.mark.parametrize("program", ["service", "workers"])
def test_neither_program_starts_with_a_catalogue_that_is_not_right(program: str, own: Path, tmp_path: Path) -> None:
    own.write_text("[my_sd]\n")
    environment = {**os.environ, "CONGEAL_DATA_DIR": str(tmp_path / "data")}
    ended = subprocess.run(
        [sys.executable, "-m", program], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode != 0
    told = ended.stdout + ended.stderr
    assert all(part in told for part in (str(own), "entry 'my_sd'", "license: Field required"))
    assert "Traceback" not in told
    assert not (tmp_path / "data").exists()
