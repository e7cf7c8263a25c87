"""`python -m workers.conversion_command`: what `congeal weights convert` runs where workers are installed.

Alone among the commands about weights it needs torch.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from workers.backbones.weights.errors import WeightsError
from workers.backbones.weights.finding import find_weights
from workers.settings import WorkerSettings
from workers.weights_command import ExitCode

_LENDER = "sd15"
"""Weights whose tokenizer holds CLIP's vocabulary."""

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def main(arguments: Sequence[str]) -> int:
    """Convert a released checkpoint into the weights folder; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        weights_dir = WorkerSettings().weights_dir
    except ValidationError as error:
        for fault in error.errors():
            _complain(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}")
        return ExitCode.USAGE
    if weights_dir is None:
        _complain("there is no folder to convert into; set CONGEAL_WEIGHTS_DIR")
        return ExitCode.USAGE
    tokenizer = options.tokenizer or _tokenizer_at_hand(weights_dir)
    if tokenizer is None:
        _complain(
            f"{options.checkpoint} holds no vocabulary; name the folder tokenizer/ of any Stable Diffusion checkpoint "
            f"with --tokenizer, or bring one with `congeal weights pull {_LENDER}`"
        )
        return ExitCode.USAGE
    return _convert(options.checkpoint, tokenizer, weights_dir / options.name)


def _convert(checkpoint: Path, tokenizer: Path, target: Path) -> ExitCode:
    from workers.backbones.mvdream.conversion import convert

    try:
        convert(checkpoint, tokenizer, target)
    except WeightsError as error:
        _complain(str(error))
        return ExitCode.GAVE_UP
    out.print(Text(f"{target.name} {target}"), soft_wrap=True)
    return ExitCode.OK


def _tokenizer_at_hand(weights_dir: Path) -> Path | None:
    folder = find_weights(_LENDER, weights_dir)
    return folder / "tokenizer" if folder else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="congeal weights convert")
    parser.add_argument("name", choices=["mvdream"])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    return parser


def _complain(text: str) -> None:
    err.print(Text(text, style="red"), soft_wrap=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        _complain("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
