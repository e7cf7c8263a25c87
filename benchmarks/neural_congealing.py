"""How well and how fast Neural Congealing's direct mode aligns the analytic template set.

Run `python -m benchmarks.neural_congealing`. All ordered pairs of pictures times 12 points; distances in pixels of a
128-pixel picture. CPU seconds are those of this process on one thread. The last line is one JSON object.
"""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from workers.evaluation.template_set import COUNT, TemplateSet, template_set
from workers.methods.neural_congealing.direct import DirectOptions, align
from workers.methods.neural_congealing.evaluation import pair_errors
from workers.methods.neural_congealing.result import CongealingResult

SIDE_PX = 128
SHARES = (0.1, 0.05, 0.02)
STATES: dict[str, DirectOptions] = {
    "init": DirectOptions(similarity_steps=1, flow_steps=0),
    "similarity": DirectOptions(flow_steps=0),
    "flow, 30 steps": DirectOptions(flow_steps=30),
    "final": DirectOptions(),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "clean": {},
    "two mirrored": {"mirrored": (2, 5)},
    "one without the object": {"without_object": 3},
    "amplitude .10": {"amplitude": 0.10},
    "noise 1 sigma": {"feature_noise": 1.0, "seed": 1},
    "noise 2 sigma": {"feature_noise": 2.0, "seed": 1},
}


@dataclass(frozen=True)
class Row:
    """One line of the table; PCK in percent, `flags_exact` covers mirrored and outlier flags."""

    variant: str
    state: str
    pck_10: float
    pck_05: float
    pck_02: float
    median_px: float
    cpu_s: float
    flags_exact: bool


def main() -> None:
    """Run all variants and print the table."""
    torch.set_num_threads(1)
    rows = []
    for name, options in VARIANTS.items():
        rows += measured(name, template_set(**options), STATES if name == "clean" else {"final": STATES["final"]})
        rows += measured(f"{name}, no masks", template_set(**options), {"final": STATES["final"]}, masked=False)
    console = Console(width=110)
    console.print(as_table(rows))
    summary = {"benchmark": "neural_congealing", "rows": [asdict(row) for row in rows]}
    console.out(json.dumps(summary), highlight=False)


def measured(name: str, truth: TemplateSet, states: dict[str, DirectOptions], *, masked: bool = True) -> list[Row]:
    """Align with each state's options, after the identity where several states are asked for."""
    rows = [identity_row(name, truth)] if len(states) > 1 else []
    features, masks = torch.from_numpy(truth.features), torch.from_numpy(truth.masks)
    for state, options in states.items():
        began = time.process_time()
        result = align(features, features.flip(-1), masks if masked else None, torch.ones_like(masks), options)
        rows.append(scored(name, state, result, truth, time.process_time() - began))
    return rows


def scored(name: str, state: str, result: CongealingResult, truth: TemplateSet, cpu_s: float) -> Row:
    """Carry all points between all pictures that show the object."""
    kept = [i for i in range(COUNT) if i != truth.without_object]
    points = torch.from_numpy(truth.keypoints) / SIDE_PX - 1
    errors = pair_errors(result, points, list(itertools.permutations(kept, 2))) * SIDE_PX / 2
    absent = [] if truth.without_object is None else [truth.without_object]
    mirrored = [i for i in result.mirrored.nonzero().flatten().tolist() if i not in absent]
    exact = mirrored == list(truth.mirrored) and result.outlier.nonzero().flatten().tolist() == absent
    return as_row(name, state, errors, cpu_s, exact=exact)


def identity_row(name: str, truth: TemplateSet) -> Row:
    """Copying every point to the same place."""
    points = torch.from_numpy(truth.keypoints) / 2
    errors = torch.cat([(points[i] - points[j]).norm(dim=1) for i, j in itertools.permutations(range(COUNT), 2)])
    return as_row(name, "identity", errors, 0.0, exact=not truth.mirrored)


def as_row(name: str, state: str, errors: torch.Tensor, cpu_s: float, *, exact: bool) -> Row:
    """Summarise distances in pixels."""
    pck = [round(100 * float((errors <= share * SIDE_PX).float().mean()), 2) for share in SHARES]
    return Row(name, state, pck[0], pck[1], pck[2], round(float(errors.median()), 3), round(cpu_s, 2), exact)


def as_table(rows: list[Row]) -> Table:
    """The rows for people."""
    table = Table(title="Neural Congealing, direct mode, on the template set")
    for column in ("set", "state", "PCK@.1", "PCK@.05", "PCK@.02", "median px", "CPU s", "flags"):
        table.add_column(column, justify="left" if column in ("set", "state") else "right")
    for row in rows:
        cells = [row.pck_10, row.pck_05, row.pck_02, row.median_px, row.cpu_s]
        table.add_row(row.variant, row.state, *map(str, cells), "exact" if row.flags_exact else "wrong")
    return table


if __name__ == "__main__":
    main()
