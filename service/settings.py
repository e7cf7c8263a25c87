"""Settings of the API, read from `CONGEAL_*` environment variables."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from storage.settings import StorageSettings

MEBIBYTE = 2**20
GIBIBYTE = 2**30


class ServiceSettings(StorageSettings):
    """Where the API listens, and the limits it keeps."""

    host: str = Field(default="127.0.0.1", description="Address to listen at.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen at.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    log_format: Literal["console", "json"] = Field(default="console", description="How log lines are written.")
    migrate_on_start: bool = Field(default=True, description="Bring the database to the newest schema at start.")

    max_image_bytes: int = Field(default=32 * MEBIBYTE, ge=1, description="Largest uploaded image file.")
    max_image_pixels: int = Field(default=40_000_000, ge=1, description="Most pixels of an uploaded image.")
    max_image_side: int = Field(default=16_384, ge=1, description="Longest side of an uploaded image, in pixels.")
    max_images_per_request: int = Field(default=100, ge=1, description="Most image files in one request.")
    max_mesh_bytes: int = Field(default=64 * MEBIBYTE, ge=1, description="Largest uploaded mesh file.")
    max_mesh_faces: int = Field(default=50_000, ge=4, description="Most faces of a stored mesh; more are simplified.")
    max_body_bytes: int = Field(default=256 * MEBIBYTE, ge=1, description="Largest multipart request.")
    max_json_bytes: int = Field(default=4 * MEBIBYTE, ge=1, description="Largest request of any other kind.")
    max_answer_points: int = Field(default=250_000, ge=1, description="Most points x targets in one transfer.")
    max_job_bytes: int = Field(
        default=16 * GIBIBYTE, ge=1, description="Most memory that a job may be estimated to need, in bytes."
    )
    max_job_tflop: float = Field(
        default=1_000_000, gt=0, description="Most work that a job may be estimated to cost, in 10^12 operations."
    )
    max_edit_pixels: int = Field(default=50_000_000, ge=1, description="Most pixels of the results of one edit.")

    max_wait_s: int = Field(default=60, ge=0, description="Longest wait that `Prefer: wait` is granted.")
    poll_interval_s: float = Field(default=0.25, gt=0, description="How often waiting requests look for news.")
    ping_interval_s: float = Field(default=15, gt=0, description="Silence after which an event stream sends a comment.")
    parallel_decodes: int = Field(default=2, ge=1, description="Images decoded at once; bounds memory.")
    parallel_edits: int = Field(default=2, ge=1, description="Edits computed at once; bounds memory.")
    max_open_results: int = Field(default=4, ge=1, description="Results kept memory-mapped for queries.")

    @property
    def uploads_dir(self) -> Path:
        """Where uploads lie until they are checked and stored."""
        return self.data_dir / "uploads"
