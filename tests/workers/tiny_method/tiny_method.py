"""A small but true optimisation method, brought by "another package": stochastic descent with checkpoints.

It estimates the mean colour of the set; the result's maps depend on every step, so that a lost or doubled step shows.
"""

import os
import time
from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from alignment.atlas import Atlas
from alignment.sampling import ImageSize
from api_schemas.manifest import ResultForm
from api_schemas.methods.spec import MethodParams, MethodSpec, Stage
from workers.methods.base import InputImage, Method, MethodResult
from workers.run_context import Run

GRID = 8


class TinyParams(MethodParams):
    """How long it works, and what befalls it."""

    steps: int = Field(default=20, ge=1)
    step_s: float = Field(default=0.0, ge=0)
    accident: Literal["none", "error", "memory", "hang", "nan"] = "none"


class Tiny(Method[TinyParams]):
    """Stochastic gradient descent towards the mean colour."""

    def run(self, images: Sequence[InputImage], params: TinyParams, run: Run) -> MethodResult:
        """Descend."""
        run.stage("warm_up")
        os.write(1, b"Libraries write to stdout as they please; the protocol must not mind.")
        pixels = torch.cat([torch.from_numpy(image.rgb.reshape(-1, 3).copy()) for image in images]).float() / 255
        _befall(params.accident)
        run.stage("descent")
        generator = torch.Generator().manual_seed(run.seed)
        colour, done = torch.zeros(3), 0
        if run.resume is not None:
            colour, done = run.resume["colour"], int(run.resume["done"])
            generator.set_state(run.resume["generator"])
        for step in range(done + 1, params.steps + 1):
            batch = pixels[torch.randint(len(pixels), (64,), generator=generator)]
            colour = colour + 0.05 * (batch.mean(dim=0) - colour)
            time.sleep(params.step_s)
            loss = float("nan") if params.accident == "nan" else float((pixels - colour).pow(2).mean())
            run.step(step, params.steps, state=partial(_state, colour, step, generator), loss=loss)
        return MethodResult(form=_form(images, colour), backbone="none")


def _state(colour: Tensor, done: int, generator: torch.Generator) -> dict[str, Tensor]:
    return {"colour": colour, "done": torch.tensor(done), "generator": generator.get_state()}


def _befall(accident: str) -> None:
    if accident == "error":
        raise ValueError("the pictures show nothing\nin common")
    if accident == "memory":
        raise MemoryError("cannot allocate 1 TiB")
    while accident == "hang":
        time.sleep(0.05)


def _form(images: Sequence[InputImage], colour: Tensor) -> Atlas:
    cells = (np.arange(GRID, dtype=np.float32) + 0.5) / GRID
    grid = np.stack(np.meshgrid(cells, cells), axis=-1).astype(np.float32)
    shift = 0.01 * colour.numpy()[:2]
    sizes = tuple(ImageSize(image.width, image.height) for image in images)
    return Atlas(
        images=sizes,
        to_canonical=tuple(grid * 0.9 + shift for _ in sizes),
        from_canonical=tuple(((grid - shift) / 0.9 * [size.width, size.height]).astype(np.float32) for size in sizes),
        confidence=tuple(np.ones((GRID, GRID), dtype=np.float32) for _ in sizes),
    )


SPEC = MethodSpec(
    id="tiny",
    title="Tiny",
    summary="Mean colour by stochastic descent.",
    paper=None,
    version="0.1",
    form=ResultForm.ATLAS,
    params=TinyParams,
    min_images=1,
    max_images=10,
    stages=(Stage(name="warm_up", share=0.1), Stage(name="descent", share=0.8), Stage(name="export", share=0.1)),
    implementation="tiny_method:Tiny",
)
