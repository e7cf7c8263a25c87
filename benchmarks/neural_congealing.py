"""How well and how fast Neural Congealing's direct mode aligns synthetic sets, beside the training of its networks.

Run `python -m benchmarks.neural_congealing`. All ordered pairs of pictures times all points; distances in pixels of a
128-pixel picture. CPU seconds are those of this process on one thread. The networks are trained as in the official
code, at an eighth of the channels, on 128-pixel pictures and a 64-cell atlas, 600 + 500 passes over the set;
`--epochs` takes a share of them. The last line is one JSON object, whose first figures are those of the clean set.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from workers.evaluation.template_set import TemplateSet, template_set
from workers.methods.neural_congealing.direct import align
from workers.methods.neural_congealing.evaluation import pair_errors
from workers.methods.neural_congealing.network.options import NetworkOptions
from workers.methods.neural_congealing.network.training import train
from workers.methods.neural_congealing.options import DirectOptions
from workers.methods.neural_congealing.result import CongealingResult

SIDE_PX = 128
SHARES = (0.1, 0.05, 0.02)
NETWORK = "clean, networks"
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
    "beetle": {"template": "beetle"},
    "beetle, two mirrored": {"template": "beetle", "mirrored": (1, 6)},
    "beetle, one without it": {"template": "beetle", "without_object": 4},
    "beetle, amplitude .10": {"template": "beetle", "amplitude": 0.10},
    "beetle, noise 1 sigma": {"template": "beetle", "feature_noise": 1.0, "seed": 1},
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
    arguments = _arguments()
    torch.set_num_threads(1)
    rows = []
    for name, options in VARIANTS.items():
        rows += measured(name, template_set(**options), STATES if name == "clean" else {"final": STATES["final"]})
        rows += measured(f"{name}, no masks", template_set(**options), {"final": STATES["final"]}, masked=False)
    rows.append(trained(template_set(), arguments.epochs))
    console = Console(width=120)
    console.print(as_table(rows))
    console.out(json.dumps(summary(rows)), highlight=False)


def trained(truth: TemplateSet, share: float) -> Row:
    """Train the networks on the clean set."""
    options = NetworkOptions(
        image_size=SIDE_PX,
        atlas_size=64,
        flow_size=64,
        width=0.125,
        network_rate=1e-4,
        bootstrap_epochs=max(1, round(600 * share)),
        flow_epochs=round(500 * share),
    )
    features, masks = torch.from_numpy(truth.features), torch.from_numpy(truth.masks)
    pictures = torch.from_numpy(truth.images)
    began = time.process_time()
    result = train(pictures, features, masks, torch.ones_like(masks), options)
    epochs = options.bootstrap_epochs + options.flow_epochs
    return scored(NETWORK, f"{epochs} epochs", result, truth, time.process_time() - began)


def summary(rows: list[Row]) -> dict[str, Any]:
    """The figures that are compared from one version to the next."""
    clean = next(row for row in rows if (row.variant, row.state) == ("clean", "final"))
    network = next(row for row in rows if row.variant == NETWORK)
    return {
        "benchmark": "neural_congealing",
        "pck_0.1": clean.pck_10,
        "pck_0.02": clean.pck_02,
        "median_px": clean.median_px,
        "cpu_s": clean.cpu_s,
        "cpu_s_network": network.cpu_s,
        "variants": {f"{row.variant}, {row.state}": asdict(row) for row in rows},
    }


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
    kept = [i for i in range(truth.template.count) if i != truth.without_object]
    points = torch.from_numpy(truth.keypoints) / SIDE_PX - 1
    errors = pair_errors(result, points, list(itertools.permutations(kept, 2))) * SIDE_PX / 2
    absent = [] if truth.without_object is None else [truth.without_object]
    mirrored = [i for i in result.mirrored.nonzero().flatten().tolist() if i not in absent]
    exact = mirrored == list(truth.mirrored) and result.outlier.nonzero().flatten().tolist() == absent
    return as_row(name, state, errors, cpu_s, exact=exact)


def identity_row(name: str, truth: TemplateSet) -> Row:
    """Copying every point to the same place."""
    points = torch.from_numpy(truth.keypoints) / 2
    pairs = itertools.permutations(range(truth.template.count), 2)
    errors = torch.cat([(points[i] - points[j]).norm(dim=1) for i, j in pairs])
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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Quality and CPU seconds on synthetic sets.")
    parser.add_argument("--epochs", type=float, default=1.0, help="share of the networks' passes over the set")
    return parser.parse_args()


if __name__ == "__main__":
    main()
