"""Messages between the supervisor and its runner: one JSON document a line, over the runner's stdin and stdout."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue, TypeAdapter

from api_schemas.annotations.model import ImageAnnotation
from api_schemas.base import Schema
from api_schemas.jobs import JobError
from api_schemas.keypoints.schema import KeypointSchema
from api_schemas.manifest import ArtifactDraft, ResultForm

MANIFEST_NAME = "manifest.json"
"""Of a result, in the folder that `RunCommand.base` names."""


class StartCommand(Schema):
    """First message to a new runner: how to set itself up."""

    kind: Literal["start"] = "start"
    device: str
    threads: int | None
    precision: str
    weights_dir: Path | None
    feature_cache_dir: Path
    feature_cache_bytes: int


class RunImage(Schema):
    """An input picture in the scratch folder."""

    path: Path
    name: str
    mask: Path | None = None
    annotation: ImageAnnotation | None = None


class RunCommand(Schema):
    """Run a method on images."""

    kind: Literal["run"] = "run"
    label: str = Field(description="What to call the run in the log.")
    method: str
    params: dict[str, JsonValue]
    seed: int
    images: list[RunImage] = Field(description="All; those of a base first.")
    scratch: Path
    digest: str = Field(description="Of all that decides the result; a checkpoint of another digest is not used.")
    resume: Path | None
    base: Path | None = Field(default=None, description="Folder with the finished result to which images are added.")
    categories: dict[str, KeypointSchema] = Field(default={}, description="Of the images' annotations.")
    used: dict[str, Path] = Field(default={}, description="Folders with the results that parameters name.")
    meshes: dict[str, Path] = Field(default={}, description="GLB files of the meshes that parameters name.")
    checkpoint_interval_s: float


class CancelCommand(Schema):
    """Stop the run at its next step; with `checkpoint`, save a state first where the step has one."""

    kind: Literal["cancel"] = "cancel"
    checkpoint: bool = False


class ReadyMessage(Schema):
    """The runner is set up and waits for a run."""

    kind: Literal["ready"] = "ready"
    device: str
    torch: str
    python: str
    backbones: list[str]
    weights: list[str] = Field(description="Entries of the weights catalogue at hand.")


class StageMessage(Schema):
    """A stage begins."""

    kind: Literal["stage"] = "stage"
    name: str


class ProgressMessage(Schema):
    """A step was done."""

    kind: Literal["progress"] = "progress"
    fraction: float
    step: int
    total: int
    metrics: dict[str, float]


class LogMessage(Schema):
    """Something worth telling the user."""

    kind: Literal["log"] = "log"
    message: str


class CheckpointMessage(Schema):
    """A checkpoint lies in the scratch folder."""

    kind: Literal["checkpoint"] = "checkpoint"
    path: Path
    stage: str
    step: int


class AliveMessage(Schema):
    """The runner's process lives; `quiet_s` tells for how long its method has given no sign."""

    kind: Literal["alive"] = "alive"
    quiet_s: float
    peak_rss_bytes: int


class FileArtifact(Schema):
    """An artifact in the scratch folder."""

    draft: ArtifactDraft
    path: Path


class DoneMessage(Schema):
    """The run has ended well."""

    kind: Literal["done"] = "done"
    form: ResultForm
    backbone: str
    backbone_identity: str | None = None
    artifacts: list[FileArtifact]
    self_check: dict[str, JsonValue]
    metrics: dict[str, JsonValue]


class ErrorMessage(Schema):
    """The run has failed."""

    kind: Literal["error"] = "error"
    error: JobError
    metrics: dict[str, JsonValue]


class CanceledMessage(Schema):
    """The run was stopped as asked."""

    kind: Literal["canceled"] = "canceled"


Command = Annotated[StartCommand | RunCommand | CancelCommand, Field(discriminator="kind")]
Message = Annotated[
    ReadyMessage
    | StageMessage
    | ProgressMessage
    | LogMessage
    | CheckpointMessage
    | AliveMessage
    | DoneMessage
    | ErrorMessage
    | CanceledMessage,
    Field(discriminator="kind"),
]
_COMMANDS: TypeAdapter[Command] = TypeAdapter(Command)
_MESSAGES: TypeAdapter[Message] = TypeAdapter(Message)


def encode(message: Schema) -> bytes:
    """Write a command or message as one line."""
    return message.model_dump_json().encode() + b"\n"


def decode_command(line: bytes) -> Command:
    """Read a line written by the supervisor."""
    return _COMMANDS.validate_json(line)


def decode_message(line: bytes) -> Message:
    """Read a line written by the runner."""
    return _MESSAGES.validate_json(line)
