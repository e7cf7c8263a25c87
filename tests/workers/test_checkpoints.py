from pathlib import Path

import pytest
import torch

from workers.checkpoints import CheckpointMismatchError, read_checkpoint, write_checkpoint


def test_every_bit_comes_back(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(5)
    shared = torch.randn(4, 6, generator=generator)
    state = {
        "weights": shared,
        "view": shared.t(),
        "half": shared.half(),
        "generator": generator.get_state(),
        "step": torch.tensor(41),
        "flags": torch.tensor([True, False]),
        "nan": torch.tensor([float("nan"), -0.0]),
    }
    path = tmp_path / "checkpoint-1.safetensors"
    write_checkpoint(path, state, digest="d", stage="flow", step=41)
    checkpoint = read_checkpoint(path, digest="d")
    assert (checkpoint.stage, checkpoint.step) == ("flow", 41)
    assert checkpoint.state.keys() == state.keys()
    for name, tensor in state.items():
        back = checkpoint.state[name]
        assert back.dtype == tensor.dtype
        assert back.numpy().tobytes() == tensor.contiguous().numpy().tobytes(), name


def test_only_the_whole_file_is_left(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "checkpoint-1.safetensors", {"x": torch.ones(2)}, digest="d", stage="s", step=1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1.safetensors"]


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-1.safetensors"
    write_checkpoint(path, {"x": torch.ones(2)}, digest="one", stage="s", step=1)
    with pytest.raises(CheckpointMismatchError, match="other images, parameters or code"):
        read_checkpoint(path, digest="two")


@pytest.mark.parametrize("keep", [0, 5, 30])
def test_a_cut_checkpoint_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "checkpoint-1.safetensors"
    write_checkpoint(path, {"x": torch.ones(64)}, digest="d", stage="s", step=1)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointMismatchError, match="cannot be read"):
        read_checkpoint(path, digest="d")
