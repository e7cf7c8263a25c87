"""A small but true optimisation method, brought by "another package": stochastic descent with checkpoints.

It estimates the mean colour of the set, within the masks where there are any; the result's maps depend on every step,
so that a lost or doubled step shows. Images that are added later are shifted by their own mean colour.
"""

import os
import time
from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from alignment.atlas import Atlas
from alignment.glb import read_glb
from alignment.sampling import ImageSize
from api_schemas.manifest import ResultForm
from api_schemas.methods.spec import MaskedParams, MeshUse, MethodSpec, Stage
from workers.methods.base import BaseResult, ExtendableMethod, InputImage, MethodResult
from workers.run_context import Run

GRID = 8


class TinyParams(MaskedParams):
    """How long it works, and what befalls it."""

    steps: int = Field(default=20, ge=1)
    step_s: float = Field(default=0.0, ge=0)
    accident: Literal["none", "error", "memory", "hang", "nan"] = "none"
    mesh: str | None = None

    def meshes(self) -> tuple[MeshUse, ...]:
        """The mesh whose vertices it counts."""
        return () if self.mesh is None else (MeshUse(("mesh",), self.mesh),)


class Tiny(ExtendableMethod[TinyParams]):
    """Stochastic gradient descent towards the mean colour."""

    def run(self, images: Sequence[InputImage], params: TinyParams, run: Run) -> MethodResult:
        """Descend."""
        run.stage("warm_up")
        os.write(1, b"Libraries write to stdout as they please; the protocol must not mind.")
        pixels = torch.cat([_pixels(image) for image in images])
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
        shifts = [0.01 * colour.numpy()[:2]] * len(images)
        vertices = {name: len(read_glb(path.read_bytes()).vertices) for name, path in run.meshes.items()}
        return _result(_form(images, shifts), colour.numpy(), [_score(image) | vertices for image in images])

    def extend(self, base: BaseResult, images: Sequence[InputImage], params: TinyParams, run: Run) -> MethodResult:
        """Keep what the base says and shift each new image by its own mean colour."""
        run.stage("descent")
        assert isinstance(base.form, Atlas)
        known = len(base.form.images)
        new = images[known:]
        run.step(params.steps, params.steps, loss=0.0)
        added = _form(new, [0.01 * _pixels(image).mean(dim=0).numpy()[:2] for image in new])
        form = Atlas(
            images=base.form.images + added.images,
            to_canonical=base.form.to_canonical + added.to_canonical,
            from_canonical=base.form.from_canonical + added.from_canonical,
            confidence=base.form.confidence + added.confidence,
        )
        return _result(form, base.tensors["atlas_features"].ravel(), [*base.scores, *(_score(image) for image in new)])


def _pixels(image: InputImage) -> Tensor:
    """Colours (n, 3) in [0, 1] of the object, or of the whole image."""
    chosen = image.rgb.reshape(-1, 3) if image.mask is None else image.rgb[image.mask > 127]
    return torch.from_numpy(chosen.copy()).float() / 255


def _score(image: InputImage) -> dict[str, float | bool]:
    return {"pixels": float(len(_pixels(image))), "masked": image.mask is not None}


def _result(form: Atlas, colour: npt.NDArray[np.float32], scores: list[dict[str, float | bool]]) -> MethodResult:
    tensors = {"atlas_features": colour.reshape(3, 1, 1).astype(np.float32)}
    return MethodResult(form=form, backbone="none", tensors=tensors, scores=scores)


def _state(colour: Tensor, done: int, generator: torch.Generator) -> dict[str, Tensor]:
    return {"colour": colour, "done": torch.tensor(done), "generator": generator.get_state()}


def _befall(accident: str) -> None:
    if accident == "error":
        raise ValueError("the pictures show nothing\nin common")
    if accident == "memory":
        raise MemoryError("cannot allocate 1 TiB")
    while accident == "hang":
        time.sleep(0.05)


def _form(images: Sequence[InputImage], shifts: Sequence[npt.NDArray[np.float32]]) -> Atlas:
    cells = (np.arange(GRID, dtype=np.float32) + 0.5) / GRID
    grid = np.stack(np.meshgrid(cells, cells), axis=-1).astype(np.float32)
    sizes = tuple(ImageSize(image.width, image.height) for image in images)
    return Atlas(
        images=sizes,
        to_canonical=tuple(grid * 0.9 + shift for shift in shifts),
        from_canonical=tuple(
            ((grid - shift) / 0.9 * [size.width, size.height]).astype(np.float32)
            for size, shift in zip(sizes, shifts, strict=True)
        ),
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
    extendable=True,
    implementation="tiny_method:Tiny",
)
