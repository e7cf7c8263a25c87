"""The process that owns the device and the loaded backbones: `python -m workers.runner`, fed by a supervisor."""

import platform
import signal
import threading
import time

import structlog
import torch

from workers.backbones.base import Compute
from workers.backbones.cache import FeatureCache
from workers.backbones.registry import BackboneProvider
from workers.channel import Channel, claim_standard_streams
from workers.execution import Execution, configure_torch, peak_rss_bytes
from workers.logs import configure_logging
from workers.protocol import AliveMessage, ReadyMessage, RunCommand, StartCommand
from workers.run_context import StopSignal

ALIVE_INTERVAL_S = 1.0

log = structlog.get_logger("workers.runner")


class Runner:
    """Performs one run after the other; backbones stay loaded between them."""

    def __init__(self, channel: Channel, start: StartCommand) -> None:
        configure_torch(start.threads)
        self._channel = channel
        self._device = resolve_device(start.device)
        self._backbones = BackboneProvider(
            compute=Compute(device=self._device, dtype=resolve_precision(start.precision, self._device)),
            weights_dir=start.weights_dir,
            cache=_feature_cache(start),
        )
        self._execution: Execution | None = None

    def serve(self) -> None:
        """Announce readiness, then perform runs until the supervisor closes the line, which ends the process."""
        self._channel.send(self._ready())
        threading.Thread(target=self._show_life, name="alive", daemon=True).start()
        while True:
            command, stop = self._channel.receive()
            if isinstance(command, RunCommand):
                self._run(command, stop)

    def _run(self, command: RunCommand, stop: StopSignal) -> None:
        self._execution = Execution(
            command, backbones=self._backbones, device=self._device, channel=self._channel, stop=stop
        )
        log.info("run begins", run=command.label, method=command.method, images=len(command.images))
        try:
            outcome = self._execution.perform()
        finally:
            self._execution = None
        log.info("run ended", run=command.label, outcome=outcome.kind)
        self._channel.send(outcome)

    def _ready(self) -> ReadyMessage:
        return ReadyMessage(
            device=str(self._device),
            torch=torch.__version__,
            python=platform.python_version(),
            backbones=self._backbones.available(),
            weights=self._backbones.available_weights(),
        )

    def _show_life(self) -> None:
        while True:
            execution = self._execution
            quiet_s = execution.quiet_s if execution else 0.0
            self._channel.send(AliveMessage(quiet_s=quiet_s, peak_rss_bytes=peak_rss_bytes()))
            time.sleep(ALIVE_INTERVAL_S)


def resolve_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` takes the first GPU where there is one.

    Raises:
        ValueError: the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"CONGEAL_DEVICE is {name!r}, but torch sees no CUDA device; use 'cpu' or 'auto'")
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type that networks compute with; `auto` takes bfloat16 on a GPU and float32 on a CPU."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _feature_cache(start: StartCommand) -> FeatureCache | None:
    if start.feature_cache_bytes == 0:
        return None
    return FeatureCache(start.feature_cache_dir, max_bytes=start.feature_cache_bytes)


def main() -> None:
    """Serve the supervisor on the other end of stdin and stdout."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the supervisor decides when to leave; it checkpoints first
        signal.signal(number, signal.SIG_IGN)
    commands, messages = claim_standard_streams()
    configure_logging()
    channel = Channel(commands, messages)
    start, _ = channel.receive()
    if not isinstance(start, StartCommand):
        raise SystemExit(f"expected a start command, got {start.kind!r}")
    Runner(channel, start).serve()


if __name__ == "__main__":
    main()
