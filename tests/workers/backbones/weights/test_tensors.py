"""Only safetensors are read, and nothing is unpickled."""

import pickle
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from workers.backbones.weights.folder import WeightsError, read_tensors


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.trace,)


def test_tensors_come_by_name(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 3)}, tmp_path / "net.safetensors")
    assert read_tensors(tmp_path / "net.safetensors")["a"].tolist() == torch.ones(2, 3).tolist()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_raw_pickles_are_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    path, trace = tmp_path / "model.safetensors", tmp_path / "trace"
    path.write_bytes(pickle.dumps(Bomb(trace), protocol=protocol))
    with pytest.raises(WeightsError, match=r"model\.safetensors are a pickle.*`congeal weights pull`"):
        read_tensors(path)
    assert not trace.exists()


def test_checkpoints_of_torch_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="are a pickle"):
        read_tensors(tmp_path / "model.safetensors")


def test_a_header_whose_length_looks_like_a_pickle_is_none(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(0x0280)
    content = struct.pack("<Q", len(header)) + header + struct.pack("<f", 1.0)
    assert content.startswith(b"\x80\x02")
    (tmp_path / "net.safetensors").write_bytes(content)
    assert read_tensors(tmp_path / "net.safetensors")["a"].tolist() == [1]


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b"{}", b"\xff" * 64, b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_anything_else_is_no_whole_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.safetensors are no whole safetensors file"):
        read_tensors(tmp_path / "model.safetensors")


def test_half_a_file_is_no_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_file({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(WeightsError, match="no whole safetensors file"):
        read_tensors(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No such file"):
        read_tensors(tmp_path / "net.safetensors")
