"""The runner's end of the line to its supervisor."""

import os
import threading
from queue import SimpleQueue
from typing import BinaryIO

from api_schemas.base import Schema
from workers.protocol import CancelCommand, Command, decode_command, encode
from workers.run_context import StopSignal


class Channel:
    """Sends messages and receives commands; ends the process when the supervisor is gone, even while it computes."""

    def __init__(self, commands: BinaryIO, messages: BinaryIO) -> None:
        self._messages = messages
        self._sending = threading.Lock()
        self._inbox: SimpleQueue[tuple[Command, StopSignal]] = SimpleQueue()
        threading.Thread(target=self._read, args=(commands,), name="commands", daemon=True).start()

    def send(self, message: Schema) -> None:
        """Write one message; the process ends if nobody listens any more."""
        try:
            with self._sending:
                self._messages.write(encode(message))
                self._messages.flush()
        except OSError:
            os._exit(0)

    def receive(self) -> tuple[Command, StopSignal]:
        """Wait for the next command; the signal beside it stops the run that the command begins."""
        return self._inbox.get()

    def _read(self, commands: BinaryIO) -> None:
        stop = StopSignal()
        for line in commands:
            command = decode_command(line)
            if isinstance(command, CancelCommand):
                stop.request(checkpoint=command.checkpoint)
            else:
                stop = StopSignal()
                self._inbox.put((command, stop))
        os._exit(0)


def claim_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """Take stdin and stdout for the protocol; whatever a library prints goes to stderr, and it reads nothing."""
    commands, messages = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return commands, messages
