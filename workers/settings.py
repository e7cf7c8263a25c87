"""Settings of a worker, read from `CONGEAL_*` environment variables."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from storage.settings import StorageSettings


def _split(lanes: object) -> object:
    return [lane.strip() for lane in lanes.split(",") if lane.strip()] if isinstance(lanes, str) else lanes


class WorkerSettings(StorageSettings):
    """What a worker takes on, how it holds its jobs and what it computes with."""

    lanes: Annotated[list[str], NoDecode, BeforeValidator(_split), Field(min_length=1)] = Field(
        default=["default"], description="Lanes to take jobs from, separated by commas."
    )
    lease_s: float = Field(default=60, gt=0, description="Seconds without a heartbeat after which a job is taken away.")
    heartbeat_s: float = Field(default=15, gt=0, description="Seconds between heartbeats; well below the lease.")
    control_poll_s: float = Field(default=0.5, gt=0, description="Seconds between looks for a cancel or a deadline.")
    checkpoint_interval_s: float = Field(default=60, gt=0, description="Seconds between checkpoints of a running job.")
    reconcile_s: float = Field(default=5, gt=0, description="Seconds between looks for lost jobs and messages.")
    wake_repeat_s: float = Field(default=30, gt=0, description="Seconds after which a waiting job wakes workers again.")
    cancel_grace_s: float = Field(default=2, gt=0, description="Seconds a runner has to stop before it is killed.")
    shutdown_grace_s: float = Field(
        default=10, gt=0, description="Seconds a runner has for a last checkpoint when the worker is told to leave."
    )
    watchdog_s: float = Field(
        default=300, gt=0, description="Seconds without a sign of life after which a runner counts as hung."
    )
    runner_start_timeout_s: float = Field(default=300, gt=0, description="Seconds a runner has to become ready.")
    runner_max_jobs: int = Field(default=200, ge=1, description="Jobs after which a runner is replaced by a new one.")
    runner_max_rss_bytes: int | None = Field(
        default=None, gt=0, description="Peak resident bytes above which a runner is replaced after its job."
    )
    device: str = Field(default="auto", description="Where to compute: auto, cpu, cuda or cuda:<n>.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads of a computation; all cores when unset.")
    weights_dir: Path | None = Field(default=None, description="Folder with weights, looked at before the hub's cache.")
    scratch_dir: Path | None = Field(
        default=None, description="Folder for files of running jobs; in the data folder when unset."
    )

    @model_validator(mode="after")
    def _heartbeats_fit_into_the_lease(self) -> Self:
        if self.heartbeat_s > self.lease_s / 2:
            raise ValueError(
                f"heartbeat_s={self.heartbeat_s:g} must be at most half of lease_s={self.lease_s:g}, or one late "
                "heartbeat loses the job; lower CONGEAL_HEARTBEAT_S or raise CONGEAL_LEASE_S"
            )
        return self

    @property
    def resolved_scratch_dir(self) -> Path:
        """Folder for files of running jobs."""
        return self.scratch_dir or self.data_dir / "scratch"
