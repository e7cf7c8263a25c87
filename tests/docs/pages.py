"""The documentation's pages and what they tell a reader to type."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str = r"\w*") -> list[str]:
    """The fenced blocks of a page, of one language or of all."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def command_lines(program: str) -> list[str]:
    """Every line of a block or inline code that starts with a program."""
    lines = [line.strip() for page in PAGES for block in blocks(page) for line in block.splitlines()]
    inline = [code for page in PAGES for code in re.findall(r"`([^`\n]+)`", page.read_text())]
    return sorted({line for line in lines + inline if re.match(rf"(\.venv/bin/)?{program} ", line)})
