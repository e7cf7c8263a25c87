"""What the documentation tells a reader to type exists."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from client.cli import app
from tests.docs.pages import PAGES, ROOT, command_lines


@pytest.mark.parametrize("line", command_lines("congeal"))
def test_congeal_commands_parse(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wings").mkdir()
    name, *arguments = shlex.split(line)[1:]
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, arguments)


@pytest.mark.parametrize("line", command_lines("make"))
def test_make_targets_exist(line: str) -> None:
    target = shlex.split(line)[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_there_are_commands_to_check() -> None:
    assert len(command_lines("congeal")) >= 4
    assert len(command_lines("make")) >= 3
