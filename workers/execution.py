"""Run one method on the images of a scratch folder and leave artifacts there."""

import os
import random
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog
import torch
from PIL import Image
from pydantic import JsonValue
from torch import Tensor

from alignment.storage_format import form_kind
from api_schemas.methods.registry import method_specs
from api_schemas.methods.spec import MethodParams, MethodSpec
from workers.backbones.registry import BackboneProvider
from workers.base_result import read_base
from workers.channel import Channel
from workers.checkpoints import CheckpointMismatchError, read_checkpoint, write_checkpoint
from workers.failures import describe_failure
from workers.methods.annotation import annotation_of
from workers.methods.base import ExtendableMethod, InputImage, Method, MethodResult
from workers.methods.export import export
from workers.methods.registry import load_method
from workers.protocol import (
    CanceledMessage,
    CheckpointMessage,
    DoneMessage,
    ErrorMessage,
    FileArtifact,
    LogMessage,
    ProgressMessage,
    RunCommand,
    StageMessage,
)
from workers.run_context import JobCanceled, Run, StopSignal

EXPORT_STAGE = "export"

log = structlog.get_logger("workers.runner")


class ChannelReporter:
    """Sends what a run tells to the supervisor; checkpoints go through files."""

    def __init__(self, channel: Channel, folder: Path, digest: str) -> None:
        self._channel = channel
        self._folder = folder
        self._digest = digest
        self._checkpoints = 0

    def stage(self, name: str) -> None:
        """A stage begins."""
        self._channel.send(StageMessage(name=name))

    def progress(self, fraction: float, *, step: int, total: int, metrics: Mapping[str, float]) -> None:
        """A step was done."""
        self._channel.send(ProgressMessage(fraction=fraction, step=step, total=total, metrics=dict(metrics)))

    def log(self, message: str) -> None:
        """Something worth telling the user."""
        self._channel.send(LogMessage(message=message))

    def checkpoint(self, state: Mapping[str, Tensor], *, stage: str, step: int) -> None:
        """Write `checkpoint-<n>.safetensors` and tell where it is."""
        self._checkpoints += 1
        path = self._folder / f"checkpoint-{self._checkpoints}.safetensors"
        write_checkpoint(path, state, digest=self._digest, stage=stage, step=step)
        self._channel.send(CheckpointMessage(path=path, stage=stage, step=step))


class Execution:
    """One run of one method, and what it costs."""

    def __init__(
        self,
        command: RunCommand,
        *,
        backbones: BackboneProvider,
        device: torch.device,
        channel: Channel,
        stop: StopSignal,
    ) -> None:
        self._command = command
        self._backbones = backbones
        self._device = device
        self._reporter = ChannelReporter(channel, command.scratch, command.digest)
        self._stop = stop
        self._computing: Run | None = None
        self._stage_seconds: dict[str, float] = {}
        self._began = (time.monotonic(), time.process_time())

    @property
    def quiet_s(self) -> float:
        """Seconds since the method gave a sign of life; 0 outside the method."""
        run = self._computing
        return run.quiet_s if run is not None else 0.0

    def perform(self) -> DoneMessage | ErrorMessage | CanceledMessage:
        """Run to the end; whatever happens becomes the message that closes the run."""
        try:
            return self._perform()
        except JobCanceled:
            return CanceledMessage()
        except Exception as error:
            log.exception("run failed", run=self._command.label)
            return ErrorMessage(error=describe_failure(error), metrics=self._metrics())

    def _perform(self) -> DoneMessage:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        seed_everything(self._command.seed)
        command = self._command
        spec = _spec(command.method)
        method = load_method(spec)(self._backbones)
        params = spec.params.model_validate(command.params)
        images = _load_images(command)
        run = self._make_run(spec)
        try:
            self._computing = run
            result = self._compute(method, images, params, run)
        finally:
            self._computing = None
            self._stage_seconds = run.stage_seconds
        if any(stage.name == EXPORT_STAGE for stage in spec.stages):
            run.stage(EXPORT_STAGE)
        exported = export(result, images, command.scratch / "result")
        self._stage_seconds = run.stage_seconds
        return DoneMessage(
            form=form_kind(result.form),
            backbone=result.backbone,
            backbone_identity=result.backbone_identity,
            artifacts=[FileArtifact(draft=draft, path=path) for draft, path in exported.artifacts],
            self_check=exported.self_check,
            metrics=self._metrics(),
        )

    def _compute(
        self, method: Method[MethodParams], images: Sequence[InputImage], params: MethodParams, run: Run
    ) -> MethodResult:
        if self._command.base is None:
            return method.run(images, params, run)
        if not isinstance(method, ExtendableMethod):
            name = self._command.method
            raise TypeError(f"this worker's method {name!r} cannot extend a result. Update the worker.")
        return method.extend(read_base(self._command.base), images, params, run)

    def _make_run(self, spec: MethodSpec) -> Run:
        return Run(
            seed=self._command.seed,
            device=self._device,
            stages=spec.stages,
            reporter=self._reporter,
            stop=self._stop,
            resume=self._resumed_state(),
            checkpoint_interval_s=self._command.checkpoint_interval_s,
            used=self._command.used,
            meshes=self._command.meshes,
        )

    def _resumed_state(self) -> dict[str, Tensor] | None:
        path = self._command.resume
        if path is None:
            return None
        try:
            checkpoint = read_checkpoint(path, digest=self._command.digest)
        except CheckpointMismatchError as error:
            self._reporter.log(f"The last checkpoint is not used: {error}. Beginning afresh.")
            return None
        self._reporter.log(f"Going on from the checkpoint at step {checkpoint.step} of stage {checkpoint.stage}.")
        return checkpoint.state

    def _metrics(self) -> dict[str, JsonValue]:
        wall, cpu = self._began
        metrics: dict[str, JsonValue] = {
            "wall_s": round(time.monotonic() - wall, 3),
            "cpu_s": round(time.process_time() - cpu, 3),
            "peak_rss_bytes": peak_rss_bytes(),
            "stage_s": {name: round(seconds, 3) for name, seconds in self._stage_seconds.items()},
        }
        if self._device.type == "cuda":
            metrics["peak_vram_bytes"] = torch.cuda.max_memory_allocated(self._device)
        return metrics


def seed_everything(seed: int) -> None:
    """Seed the global generators, for libraries that use them in spite of our own passing seeds explicitly."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def configure_torch(threads: int | None) -> None:
    """Make results depend on the inputs alone: deterministic kernels, a fixed number of threads."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    if threads is not None:
        torch.set_num_threads(threads)


def peak_rss_bytes() -> int:
    """Largest resident size of this process since it started (the kernel counts KiB, on macOS bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _spec(method: str) -> MethodSpec:
    try:
        return method_specs()[method]
    except KeyError:
        known = ", ".join(method_specs())
        raise ValueError(f"this worker has no method {method!r}; it has {known}. Update the worker.") from None


def _load_images(command: RunCommand) -> list[InputImage]:
    loaded = []
    for image in command.images:
        with Image.open(image.path) as picture:
            rgb = np.asarray(picture.convert("RGB"), dtype=np.uint8)
        mask = None if image.mask is None else _load_mask(image.mask)
        annotation = annotation_of(image.annotation, command.categories) if image.annotation else None
        loaded.append(InputImage(name=image.name, rgb=rgb, mask=mask, annotation=annotation))
    return loaded


def _load_mask(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"), dtype=np.uint8)
