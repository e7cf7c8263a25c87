from pathlib import Path

import pytest
from pydantic import ValidationError

from workers.settings import WorkerSettings


def test_lanes_come_as_a_list_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONGEAL_LANES", "cpu, gpu.s,")
    assert WorkerSettings().lanes == ["cpu", "gpu.s"]


def test_a_worker_without_lanes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONGEAL_LANES", " , ")
    with pytest.raises(ValidationError, match="lanes"):
        WorkerSettings()


def test_the_scratch_folder_is_in_the_data_folder_unless_given(tmp_path: Path) -> None:
    assert WorkerSettings(data_dir=tmp_path).resolved_scratch_dir == tmp_path.resolve() / "scratch"
    assert WorkerSettings(data_dir=tmp_path, scratch_dir=Path("/fast")).resolved_scratch_dir == Path("/fast")


def test_rare_heartbeats_are_refused_with_the_remedy() -> None:
    with pytest.raises(ValidationError, match=r"heartbeat_s=15.*lease_s=20.*CONGEAL_HEARTBEAT_S"):
        WorkerSettings(lease_s=20)
