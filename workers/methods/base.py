"""What a method is: a function from images and parameters to a result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from alignment.forms import Form
from api_schemas.annotations.model import Split
from api_schemas.keypoints.schema import KeypointSchema
from api_schemas.methods.spec import MethodParams

if TYPE_CHECKING:
    from workers.backbones.registry import BackboneProvider
    from workers.run_context import Run

P = TypeVar("P", bound=MethodParams)


class UnfitImagesError(ValueError):
    """Nothing can be told of these images, whatever the computer does; the message says of which, and what to do."""


class OtherWeightsError(ValueError):
    """A result that shall be extended was made with other weights than those at hand; the message names both."""


@dataclass(frozen=True)
class Annotation:
    """What is known of an image; see `api_schemas.annotations.model.ImageAnnotation`."""

    category: str
    schema: KeypointSchema | None
    """Of the category: K names, with mirror pairs or none, and groups. None where there are no keypoints, K = 0."""
    keypoints: npt.NDArray[np.float64]
    """(K, 3): x, y in pixels of the upload, and 1 where visible, else 0."""
    box: tuple[float, float, float, float] | None = None
    """x0, y0, x1, y1 in pixels; None: the whole image."""
    azimuth: int | None = None
    """Eighth of a turn, 0 to 7."""
    pose: str | None = None
    split: Split | None = None


@dataclass(frozen=True)
class InputImage:
    """An image of the set, as uploaded (oriented, sRGB)."""

    name: str
    rgb: npt.NDArray[np.uint8]
    """(H, W, 3) in 0..255."""
    mask: npt.NDArray[np.uint8] | None = None
    """(H, W) in 0..255, 255 where the object is; given by the user, for all images or for none."""
    annotation: Annotation | None = None

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.rgb.shape[0])


@dataclass(frozen=True)
class MethodResult:
    """What a method yields; `workers.methods.export` turns it into artifacts."""

    form: Form
    backbone: str
    """Name of the backbone that was used."""
    backbone_identity: str | None = None
    """What else decides its features: options, weights, precision; see `Backbone.identity`."""
    scores: Sequence[Mapping[str, JsonValue]] = field(default_factory=list)
    """Figures of the method's own, one entry per image; may be empty."""
    set_scores: Mapping[str, float] = field(default_factory=dict)
    """Figures of the set as a whole."""
    warnings: Sequence[str] = ()
    """What a user should doubt, beside what the self-check finds."""
    pictures: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    """Pictures (H, W, 3) by artifact name without suffix, for example `pictures/atlas`."""
    tensors: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    """Further arrays worth keeping, by artifact name without suffix, which is also the array's."""
    documents: Mapping[str, JsonValue] = field(default_factory=dict)
    """JSON by artifact name without suffix."""
    bundles: Mapping[str, Mapping[str, npt.NDArray[np.float32]]] = field(default_factory=dict)
    """Several arrays that belong together, such as a network's weights, by artifact name without suffix."""
    image_pictures: Mapping[str, Sequence[npt.NDArray[np.uint8]]] = field(default_factory=dict)
    """Pictures (H, W, 3), or grey (H, W), of every image by name; image i's becomes `pictures/<name>/<i>.png`."""
    image_tensors: Mapping[str, Sequence[npt.NDArray[np.float32]]] = field(default_factory=dict)
    """Arrays of every image by name; image i's becomes `tensors/<name>/<i>.safetensors`."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Files that are ready as they are, by whole artifact name, for example `canonical/turntable.webp`."""


@dataclass(frozen=True)
class BaseResult:
    """A finished result of the same method, to which images are added."""

    form: Form
    """Of the images that are there already."""
    tensors: Mapping[str, npt.NDArray[np.float32]]
    """As in `MethodResult.tensors`."""
    scores: Sequence[Mapping[str, JsonValue]]
    """As in `MethodResult.scores`."""
    backbone_identity: str | None = None
    """As in `MethodResult.backbone_identity`."""
    documents: Mapping[str, JsonValue] = field(default_factory=dict)
    """As in `MethodResult.documents`."""
    image_tensors: Mapping[str, Sequence[npt.NDArray[np.float32]]] = field(default_factory=dict)
    """As in `MethodResult.image_tensors`, of the precision in which they are stored, read-only and memory-mapped."""


class Method(ABC, Generic[P]):
    """One way to align images. Knows nothing of jobs, queues or HTTP: it runs in a plain script with `Run.local()`."""

    def __init__(self, backbones: BackboneProvider) -> None:
        """Keep the provider; backbones are loaded on first use and stay warm from job to job."""
        self.backbones = backbones

    @abstractmethod
    def run(self, images: Sequence[InputImage], params: P, run: Run) -> MethodResult:
        """Align `images`.

        Call `run.stage` when a stage of the method's spec begins (all but `export`, which is not the method's) and
        `run.step` at least once a second of compute. Where `run.step` gets `state`, the method must be able to begin
        from `run.resume` and end with the same result as an undisturbed run.

        Raises:
            JobCanceled: from `run.step`; let it pass.
        """


class ExtendableMethod(Method[P]):
    """A method that can add images to a result without computing the others again; `MethodSpec.extendable` says so."""

    @abstractmethod
    def extend(self, base: BaseResult, images: Sequence[InputImage], params: P, run: Run) -> MethodResult:
        """Add images to `base`.

        Args:
            base: the finished result.
            images: those of `base`, in its order, then the new ones. Masks, if any, lie with the new ones only.
            params: of the run that made `base`.
            run: as for `Method.run`.

        Returns:
            A result of all images; what `base` says of its own images stays as it is.
        """
