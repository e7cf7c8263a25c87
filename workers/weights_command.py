"""`python -m workers.weights_command`: what `congeal weights` runs where workers are installed."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import TypedDict

from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from api_schemas.weights import backbones_with, size_text, weights_catalogue, weights_for
from workers.backbones.weights.errors import HubRefusedError, HubUnreachableError, WeightsError
from workers.backbones.weights.finding import entry_of, find_weights, places
from workers.backbones.weights.pull import pull
from workers.backbones.weights.strays import stray_text
from workers.backbones.weights.verification import FileCheck, FileState, check_files
from workers.settings import WorkerSettings

NO_BACKBONE = "none; methods ask for it"
UNUSABLE = (FileState.DAMAGED, FileState.MISSING, FileState.UNREADABLE)

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class ExitCode(IntEnum):
    """How a command ended; the same numbers as of the other `congeal` commands."""

    OK = 0
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    GAVE_UP = 5
    INTERRUPTED = 130


class ListedWeights(TypedDict):
    """A row of `list --json`."""

    name: str
    backbones: list[str]
    bytes: int
    license: str
    source: str
    folder: str | None
    remark: str | None


class VerifiedFile(TypedDict):
    """A row of `verify --json`."""

    weights: str
    path: str
    state: FileState
    sha256: str | None
    expected: str | None
    source: str | None


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = WorkerSettings()
        names = weights_for(options.names) if options.names else list(weights_catalogue())
    except ValidationError as error:
        for fault in error.errors():
            _complain(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}")
        return ExitCode.USAGE
    except ValueError as error:
        _complain(str(error))
        return ExitCode.USAGE
    try:
        return _run(options, names, settings)
    except WeightsError as error:
        _complain(str(error))
        return _exit_code(error)


def _run(options: argparse.Namespace, names: list[str], settings: WorkerSettings) -> ExitCode:
    match options.command:
        case "pull":
            return pull_all(names, settings, force=options.force)
        case "verify":
            return verify_all(names, settings.weights_dir, every=bool(options.names), as_json=options.json)
        case _:
            return list_all(names, settings.weights_dir, as_json=options.json)


def list_all(names: Iterable[str], weights_dir: Path | None, *, as_json: bool) -> ExitCode:
    """Print what there is, and where it lies on this machine."""
    rows = [_listed(name, weights_dir) for name in names]
    if as_json:
        out.print_json(json.dumps(rows))
        return ExitCode.OK
    table = Table(Column("weights", no_wrap=True), "for backbones", "size", "license", "where", "source")
    for row in rows:
        where = escape(row["folder"]) if row["folder"] else "[yellow]missing[/]"
        size = size_text(row["bytes"])
        table.add_row(
            row["name"], ", ".join(row["backbones"]) or NO_BACKBONE, size, row["license"], where, row["source"]
        )
    out.print(table)
    for row in rows:
        if row["remark"]:
            _say(f"{row['name']}: {row['remark']}")
    return ExitCode.OK


def pull_all(names: Sequence[str], settings: WorkerSettings, *, force: bool) -> ExitCode:
    """Bring weights one after the other; the first failure decides the exit code, the rest is tried all the same."""
    if not names:
        _say("the dense descriptor needs no weights")
    code = ExitCode.OK
    for name in names:
        if find_weights(name, settings.weights_dir) is None or force:
            if not settings.weights_download:
                _complain("CONGEAL_WEIGHTS_DOWNLOAD=0 forbids to ask the hub; unset it, or put the files there by hand")
                return ExitCode.USAGE
            entry = entry_of(name)
            _say(f"bringing {name}: {size_text(entry.bytes)} from {entry.hub} ({entry.license})")
        try:
            folder = pull(name, settings.weights_dir, force=force)
        except WeightsError as error:
            _complain(str(error))
            code = code or _exit_code(error)
        else:
            out.print(Text(f"{name} {folder}"), soft_wrap=True)
    return code


def verify_all(names: Iterable[str], weights_dir: Path | None, *, every: bool, as_json: bool) -> ExitCode:
    """Print how each file stands; without `every`, only of weights of which something is here."""
    checks = [(name, check) for name in names for check in _checks(name, weights_dir, every=every)]
    if as_json:
        out.print_json(json.dumps([_verified(name, check) for name, check in checks]))
    elif not checks:
        _say("no weights are on this machine")
    else:
        table = Table("state", "checked against", Column("file", overflow="fold"))
        for _, check in checks:
            colour = {FileState.OK: "green", FileState.NOT_VERIFIED: "yellow"}.get(check.state, "red")
            known = check.known.source if check.known else ""
            table.add_row(f"[{colour}]{check.state}[/]", known, escape(str(check.path)))
        out.print(table)
    faults = [check.complaint(name) for name, check in checks if check.state in UNUSABLE]
    for fault in faults:
        _complain(fault)
    return ExitCode.GAVE_UP if faults else ExitCode.OK


def _listed(name: str, weights_dir: Path | None) -> ListedWeights:
    entry = entry_of(name)
    folder = find_weights(name, weights_dir)
    return ListedWeights(
        name=name,
        backbones=backbones_with(name),
        bytes=entry.bytes,
        license=entry.license,
        source=entry.hub,
        folder=str(folder) if folder else None,
        remark=None if folder else stray_text(name, entry, weights_dir),
    )


def _checks(name: str, weights_dir: Path | None, *, every: bool) -> list[FileCheck]:
    entry = entry_of(name)
    folder = find_weights(name, weights_dir) or next(iter(places(name, entry, weights_dir)), None)
    if folder is None:
        return [FileCheck(Path(name) / file.path, FileState.MISSING) for file in entry.files] if every else []
    return list(check_files(entry, folder))


def _verified(name: str, check: FileCheck) -> VerifiedFile:
    return VerifiedFile(
        weights=name,
        path=str(check.path),
        state=check.state,
        sha256=check.sha256,
        expected=check.known.sha256 if check.known else None,
        source=check.known.source if check.known else None,
    )


def _exit_code(error: WeightsError) -> ExitCode:
    match error:
        case HubUnreachableError():
            return ExitCode.UNREACHABLE
        case HubRefusedError():
            return ExitCode.REFUSED
        case _:
            return ExitCode.GAVE_UP


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="congeal weights")
    commands = parser.add_subparsers(dest="command", required=True)
    listing, pulling, verifying = (commands.add_parser(name) for name in ("list", "pull", "verify"))
    listing.set_defaults(names=[])
    pulling.add_argument("names", nargs="+")
    pulling.add_argument("--force", action="store_true")
    verifying.add_argument("names", nargs="*")
    for command in (listing, verifying):
        command.add_argument("--json", action="store_true")
    return parser


def _say(text: str) -> None:
    err.print(Text(text), soft_wrap=True)


def _complain(text: str) -> None:
    err.print(Text(text, style="red"), soft_wrap=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        _complain("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
