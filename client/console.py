"""What the command line says: to people on stderr, to scripts on stdout, and through its exit codes."""

from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from typing import ParamSpec, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from client.errors import CongealError, JobUnsuccessfulError, ProblemError, ServiceUnreachableError

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    JOB_UNSUCCESSFUL = 1
    USAGE = 2
    UNREACHABLE = 3
    PROBLEM = 4
    GAVE_UP = 5
    """A wait timed out, a download was damaged, or an embedded process ended."""
    INTERRUPTED = 130


def exit_code_of(error: Exception) -> ExitCode:
    """Return the exit code that tells scripts what kind of error it was."""
    match error:
        case JobUnsuccessfulError():
            return ExitCode.JOB_UNSUCCESSFUL
        case ServiceUnreachableError():
            return ExitCode.UNREACHABLE
        case ProblemError():
            return ExitCode.PROBLEM
        case CongealError():
            return ExitCode.GAVE_UP
        case _:
            return ExitCode.USAGE


def message_of(error: Exception) -> str:
    """Return what to tell the user about an error."""
    if isinstance(error, ValidationError):
        return "\n".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    return str(error)


def say(text: str, *, style: str = "") -> None:
    """Tell the user something on stderr, taking the text literally."""
    err.print(Text(text, style=style), soft_wrap=True)


def reporting_errors(command: Callable[Parameters, Answer]) -> Callable[Parameters, Answer]:
    """Turn the errors that a user can mend into red text and an exit code, without a traceback."""

    @wraps(command)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Answer:
        try:
            return command(*args, **kwargs)
        except (CongealError, ValueError, OSError) as error:
            say(message_of(error), style="red")
            raise typer.Exit(exit_code_of(error)) from error
        except KeyboardInterrupt as error:
            say("interrupted", style="red")
            raise typer.Exit(ExitCode.INTERRUPTED) from error

    return wrapped
