"""Settings of a worker, read from `CONGEAL_*` environment variables."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from api_schemas.weights import weights_for
from storage.settings import StorageSettings


def _split(names: object) -> object:
    return [name.strip() for name in names.split(",") if name.strip()] if isinstance(names, str) else names


def _backbones(names: list[str]) -> list[str]:
    weights_for(names)  # refuses unknown names
    return names


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
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Numbers that networks compute with; auto is bfloat16 on a GPU, float32 on a CPU."
    )
    feature_cache_bytes: int = Field(
        default=4 * 1024**3,
        ge=0,
        description="Size of the folder that keeps features for later jobs, in the data folder; 0 keeps none.",
    )
    weights_dir: Path | None = Field(default=None, description="Folder with weights, looked at before the hub's cache.")
    weights_download: bool = Field(
        default=True, description="Whether a worker may ask the hub for weights, which it does only when it starts."
    )
    backbones: Annotated[list[str], NoDecode, BeforeValidator(_split), AfterValidator(_backbones)] = Field(
        default=[], description="Backbones, separated by commas, whose weights a worker brings when it starts."
    )
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

    @property
    def feature_cache_dir(self) -> Path:
        """Folder of features kept for later jobs."""
        return self.data_dir / "cache" / "features"
