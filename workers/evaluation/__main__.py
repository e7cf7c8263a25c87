"""Write the sample set: `python -m workers.evaluation FOLDER --seed 7 --count 12`."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from workers.evaluation.export import write_sample_set
from workers.evaluation.synthetic import sample_set


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, draw the set and write it."""
    parser = argparse.ArgumentParser(prog="python -m workers.evaluation", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write the pictures and their truth")
    parser.add_argument("--seed", type=int, default=7, help="same seed, same pictures (default 7)")
    parser.add_argument("--count", type=int, default=12, help="number of pictures (default 12)")
    parser.add_argument("--mirrored", type=int, nargs="*", default=[], metavar="INDEX", help="to mirror")
    parser.add_argument("--without-object", type=int, nargs="*", default=[], metavar="INDEX", help="background only")
    options = parser.parse_args(arguments)
    try:
        drawn = sample_set(
            options.seed, options.count, mirrored=options.mirrored, without_object=options.without_object
        )
    except ValueError as problem:
        parser.error(str(problem))
    written = write_sample_set(options.folder, drawn)
    Console().print(f"{len(written)} pictures in {options.folder / 'images'}, truth in {options.folder / 'truth.json'}")


if __name__ == "__main__":
    main()
