"""The released checkpoint becomes the folder that is loaded."""

import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.workers.backbones.mvdream.official_parts import OfficialText, OfficialVae
from tests.workers.backbones.mvdream.tiny import (
    NAME,
    TEXT_WIDTH,
    load_tiny,
    official_text_tensors,
    official_vae_tensors,
    released_state,
    save_released,
    save_vocabulary,
)
from workers.backbones.mvdream.conversion import convert
from workers.backbones.mvdream.networks import MvdreamNetworks
from workers.backbones.mvdream.topology import HEAD_WIDTH
from workers.backbones.weights.errors import WeightsError
from workers.backbones.weights.finding import entry_of
from workers.backbones.weights.verification import FileState, check_files
from workers.conversion_command import main
from workers.weights_command import ExitCode


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pickled file; not to be written to."""
    return save_released(tmp_path_factory.mktemp("released") / "sd-v2.1-base-4view.pt")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_vocabulary(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def converted_dir(released: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder that holds what the converter wrote."""
    folder = tmp_path_factory.mktemp("converted")
    convert(released, tokenizer, folder / NAME)
    return folder


@pytest.fixture(scope="module")
def converted(converted_dir: Path) -> MvdreamNetworks:
    return load_tiny(converted_dir)


def test_all_tensors_and_settings_arrive(converted: MvdreamNetworks, mvdream: MvdreamNetworks) -> None:
    for found, expected in (
        (converted.unet, mvdream.unet),
        (converted.vae, mvdream.vae),
        (converted.text_encoder.network, mvdream.text_encoder.network),
    ):
        wanted = expected.state_dict()
        assert found.state_dict().keys() == wanted.keys()
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.state_dict().items())
    assert settings_of(converted.unet.config) == settings_of(mvdream.unet.config)
    assert settings_of(converted.vae.config) == settings_of(mvdream.vae.config)
    assert converted.vae.config["scaling_factor"] == 0.18215


def settings_of(config: Mapping[str, object]) -> dict[str, object]:
    """Leave out where a configuration was read and which of its settings are defaults."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in config.items()
        if not name.startswith("_")
    }


@torch.no_grad()
def test_the_autoencoder_computes_as_the_official_layout(converted: MvdreamNetworks) -> None:
    official = OfficialVae(official_vae_tensors())
    draw = torch.Generator().manual_seed(0)
    pictures, latents = torch.randn(2, 3, 64, 64, generator=draw), torch.randn(2, 4, 8, 8, generator=draw)
    mean, log_variance = official.moments(pictures).chunk(2, dim=1)
    posterior = converted.vae.encode(pictures).latent_dist
    assert_close(posterior.mean, mean, rtol=0, atol=1e-5)
    assert_close(posterior.logvar, log_variance.clamp(-30, 20), rtol=0, atol=1e-5)
    assert_close(converted.vae.decode(latents).sample, official.decoded(latents), rtol=0, atol=3e-5)


@torch.no_grad()
def test_the_text_encoder_computes_as_the_official_layout(converted: MvdreamNetworks) -> None:
    official = OfficialText(official_text_tensors(), heads=TEXT_WIDTH // HEAD_WIDTH)
    ids = torch.tensor([converted.text_encoder.token_ids(prompt) for prompt in ("a photo of a cat", "")])
    expected = official(ids)
    assert_close(converted.text(["a photo of a cat", ""]), expected, rtol=0, atol=1e-5)


def test_every_file_of_the_catalogue_is_written_with_its_checksum(converted_dir: Path) -> None:
    checks = list(check_files(entry_of(NAME), converted_dir / NAME))
    assert {check.state for check in checks} == {FileState.OK}
    written = {str(path.relative_to(converted_dir / NAME)) for path in (converted_dir / NAME).rglob("*.*")}
    assert written == {file.path for file in entry_of(NAME).files}
    assert [path.name for path in converted_dir.iterdir()] == [NAME]


def test_padding_is_openclips(converted: MvdreamNetworks) -> None:
    assert converted.text_encoder.tokenizer.pad_token_id == 0


def saved(path: Path, change: Callable[[dict[str, Tensor]], None]) -> Path:
    state = released_state()
    change(state)
    torch.save(state, path)
    return path


def without_unet(state: dict[str, Tensor]) -> None:
    for name in [name for name in state if name.startswith("model.")]:
        del state[name]


def with_the_text_encoder_of_1_5(state: dict[str, Tensor]) -> None:
    for name in [name for name in state if name.startswith("cond_stage_model.")]:
        del state[name]
    state["cond_stage_model.transformer.text_model.final_layer_norm.weight"] = torch.zeros(1)


def without_one(state: dict[str, Tensor]) -> None:
    del state["model.diffusion_model.camera_embed.0.weight"]


def with_one_more(state: dict[str, Tensor]) -> None:
    state["model.diffusion_model.image_embed.latents"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without_unet, r"holds no input_blocks\..* and so no U-Net of MVDream"),
        (with_the_text_encoder_of_1_5, r"no token_embedding.* and so no text encoder of OpenCLIP"),
        (without_one, r"unet do not fit.*class_embedding\.linear_1\.weight"),
        (with_one_more, r"1 tensors have names.*image_embed\.latents"),
    ],
)
def test_other_checkpoints_are_refused_and_leave_nothing(
    tokenizer: Path, tmp_path: Path, change: Callable[[dict[str, Tensor]], None], says: str
) -> None:
    checkpoint = saved(tmp_path / "other.pt", change)
    with pytest.raises(WeightsError, match=says):
        convert(checkpoint, tokenizer, tmp_path / NAME)
    assert [path.name for path in tmp_path.iterdir()] == ["other.pt"]


class Harmful:
    """Would run code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_code_in_a_checkpoint_is_not_run(tokenizer: Path, tmp_path: Path) -> None:
    checkpoint, proof = tmp_path / "harmful.pt", tmp_path / "proof"
    torch.save({"a": Harmful(proof)}, checkpoint)
    with pytest.raises(WeightsError, match="cannot be read as a checkpoint of tensors alone"):
        convert(checkpoint, tokenizer, tmp_path / NAME)
    assert not proof.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps({"a": 1})])
def test_files_that_are_no_checkpoint_are_refused(tokenizer: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.pt"):
        convert(tmp_path / "x.pt", tokenizer, tmp_path / NAME)


def test_what_is_there_is_left_alone(released: Path, tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(WeightsError, match="is there already; move it away"):
        convert(released, tokenizer, tmp_path / NAME)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("merges.txt", None, r"has no merges\.txt; name the folder tokenizer/"),
        ("vocab.json", '{"!": 4}', "'!' has id 0"),
    ],
)
def test_other_tokenizers_are_refused(released: Path, tmp_path: Path, name: str, text: str | None, says: str) -> None:
    folder = save_vocabulary(tmp_path)
    (folder / name).unlink() if text is None else (folder / name).write_text(text)
    with pytest.raises(WeightsError, match=says):
        convert(released, folder, tmp_path / NAME)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The weights folder that the command finds."""
    monkeypatch.setenv("CONGEAL_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return tmp_path


def test_the_command_converts_into_the_weights_folder(
    settings: Path, released: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([NAME, str(released), "--tokenizer", str(tokenizer)]) == ExitCode.OK
    assert "".join(capsys.readouterr().out.split()) == f"{NAME}{settings / NAME}"
    assert load_tiny(settings).name == NAME


def test_users_reach_the_command_as_congeal_weights_convert(settings: Path) -> None:
    command = [sys.executable, "-m", "client", "weights", "convert", NAME, str(settings / "released.pt")]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == ExitCode.USAGE
    assert f"{settings / 'released.pt'} holds no vocabulary" in told.stderr


def test_the_command_says_where_a_tokenizer_is_to_be_had(
    settings: Path, released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([NAME, str(released)]) == ExitCode.USAGE
    assert "--tokenizer, or bring one with `congeal weights pull sd15`" in capsys.readouterr().err
    for file in entry_of("sd15").files:
        (settings / "sd15" / file.path).parent.mkdir(parents=True, exist_ok=True)
        (settings / "sd15" / file.path).touch()
    save_vocabulary(settings / "sd15" / "tokenizer")
    assert main([NAME, str(released)]) == ExitCode.OK


def test_the_command_says_what_is_wrong(
    settings: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([NAME, str(settings / "nothing.pt"), "--tokenizer", str(tokenizer)]) == ExitCode.GAVE_UP
    assert "nothing.pt cannot be read" in capsys.readouterr().err
    monkeypatch.setenv("CONGEAL_WEIGHTS_DIR", "")
    assert main([NAME, str(settings / "nothing.pt")]) == ExitCode.USAGE
    assert "set CONGEAL_WEIGHTS_DIR" in capsys.readouterr().err
