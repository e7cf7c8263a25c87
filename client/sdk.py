"""The Python SDK: a small synchronous client of the service's HTTP interface."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeGuard
from urllib.parse import quote
from uuid import uuid4

from pydantic import JsonValue, TypeAdapter

from api_schemas.annotations.given import AnnotationsInput
from api_schemas.annotations.model import Annotations
from api_schemas.edits import Edit, EditBlend, EditSpace, EditSpec
from api_schemas.events import JobEvent
from api_schemas.image_sets import ImageSet, ImageSetCreate
from api_schemas.images import Image
from api_schemas.jobs import CancelRequest, Job, JobCreate, JobValidation, Priority
from api_schemas.keypoints.schema import KeypointSchema
from api_schemas.manifest import Artifact, Manifest
from api_schemas.methods.spec import MethodDetail, MethodList, MethodSummary
from api_schemas.queries import (
    Box,
    Coordinates,
    EvaluationRequest,
    EvaluationResponse,
    Keypoint,
    TransferRequest,
    TransferResponse,
)
from client.addresses import JobOrId, PathLike, id_of, image_ids, job_path
from client.annotations import read_annotations
from client.downloads import fetch_result
from client.edits import OnPicture, fetch_pair_map, fetch_pictures, send_edit
from client.errors import WaitTimeoutError
from client.event_stream import EventLog
from client.masks import check_mask_count, mask_ids
from client.shapes import ShapeCalls
from client.transport import Transport
from client.uploads import check_distinct, collect_pictures, upload_pictures

DEFAULT_URL = "http://127.0.0.1:8000"

Threshold = Literal["bbox", "image"]
AnnotationsLike = Annotations | Mapping[str, JsonValue] | PathLike


@dataclass(frozen=True)
class JobInputs:
    """What a submission says of its images; exactly one of the first two is given."""

    image_ids: list[str] | None
    image_set_id: str | None
    masks: dict[str, str] | None
    annotations: Annotations | None


class Congeal(ShapeCalls):
    """A connection to a Congeal service.

    Example:
        with Congeal() as congeal:
            job = congeal.submit("neural_congealing", paths=["cats/"], seed=1)
            congeal.wait(job, timeout_s=600)
            congeal.fetch(job, "out")

    Every call retries connection errors and a busy service with growing pauses; creations carry an
    Idempotency-Key, so a retry never makes a second job. All calls may raise `ProblemError` (the service
    refused; `.problem` says what, where and how to mend it) and `ServiceUnreachableError`.
    """

    def __init__(self, base_url: str = DEFAULT_URL, *, timeout_s: float = 60.0) -> None:
        """Prepare a connection; `timeout_s` bounds the silence within one request."""
        self._transport = Transport(base_url, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def methods(self) -> list[MethodSummary]:
        """List the methods of this service."""
        return self._transport.get("/v1/methods", MethodList).items

    def method(self, method_id: str) -> MethodDetail:
        """Describe one method with the JSON Schema of its parameters."""
        return self._transport.get(f"/v1/methods/{quote(method_id, safe='')}", MethodDetail)

    def upload(self, paths: Sequence[PathLike]) -> list[Image]:
        """Upload picture files (and the pictures in folders, by name); the answer keeps the order.

        Raises:
            FileNotFoundError: a path does not exist, or a folder holds no pictures.
        """
        return upload_pictures(self._transport, collect_pictures([Path(path) for path in paths]))

    def create_image_set(
        self, images: Sequence[Image | str], *, name: str | None = None, idempotency_key: str | None = None
    ) -> ImageSet:
        """Bind uploaded images, given as such or by id, into an ordered set."""
        body = ImageSetCreate(image_ids=image_ids(images), name=name)
        key = idempotency_key or new_key()
        return self._transport.post("/v1/image-sets", ImageSet, body=body, idempotency_key=key)

    def submit(
        self,
        method: str,
        *,
        images: Sequence[Image | str] | None = None,
        paths: Sequence[PathLike] | None = None,
        image_set: ImageSet | str | None = None,
        params: Mapping[str, JsonValue] | None = None,
        seed: int = 0,
        priority: Priority = Priority.NORMAL,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        deadline_s: int = 24 * 3600,
        masks: Sequence[Image | PathLike] | None = None,
        annotations: AnnotationsLike | None = None,
        extends: JobOrId | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a job on exactly one of: uploaded `images`, files or folders at `paths`, or an `image_set`.

        Args:
            method: id of the method; with `extends` that of the job that is extended.
            images: uploaded images, as such or by id.
            paths: picture files, or folders with pictures.
            image_set: a set, as such or by id.
            params: of the method; omitted ones take their defaults, or what the extended job has.
            seed: of everything random.
            priority: place in the queue.
            name: to find the job by.
            labels: to find it by, too.
            deadline_s: seconds after which the job is given up.
            masks: one per image, in the same order: picture files, uploaded images, or ids of such. White where the
                object is, black elsewhere; each of the size of its image.
            annotations: what is known of the images. A path is read as `read_annotations` does (our JSON or a COCO
                keypoint file, by file name; a folder of SPair-71k), and what it says of other pictures is left out.
                Annotations as such, or as JSON of either kind, must be of these images alone, by id or file name.
            extends: a succeeded job to whose result the images are added.
            idempotency_key: makes a repeated call return the first one's job; a fresh one if left out.

        Raises:
            ValueError: none or several of the three are given, not as many masks as images, or annotations with a
                fault, of none of the images, or of a file name that several have.
            FileNotFoundError: a path does not exist, or a folder holds no pictures.
        """
        inputs = self._inputs(images, paths, image_set, masks, annotations)
        body = JobCreate(
            method=method,
            params=dict(params or {}),
            seed=seed,
            priority=priority,
            name=name,
            labels=dict(labels or {}),
            deadline_s=deadline_s,
            extends=None if extends is None else id_of(extends),
            **vars(inputs),
        )
        key = idempotency_key or new_key()
        return self._transport.post("/v1/jobs", Job, body=body, idempotency_key=key)

    def validate(
        self,
        method: str,
        *,
        images: Sequence[Image | str] | None = None,
        paths: Sequence[PathLike] | None = None,
        image_set: ImageSet | str | None = None,
        params: Mapping[str, JsonValue] | None = None,
        masks: Sequence[Image | PathLike] | None = None,
        annotations: AnnotationsLike | None = None,
        extends: JobOrId | None = None,
    ) -> JobValidation:
        """Check a submission as `submit` makes it, without queueing a job; pictures at `paths` are uploaded.

        Returns:
            All parameters, and the annotations by image id with everything that was told from names filled in.

        Raises:
            ValueError: see `submit`.
            FileNotFoundError: see `submit`.
        """
        inputs = self._inputs(images, paths, image_set, masks, annotations)
        body = JobCreate(
            method=method,
            params=dict(params or {}),
            extends=None if extends is None else id_of(extends),
            **vars(inputs),
        )
        return self._transport.post("/v1/jobs:validate", JobValidation, body=body)

    def _inputs(
        self,
        images: Sequence[Image | str] | None,
        paths: Sequence[PathLike] | None,
        image_set: ImageSet | str | None,
        masks: Sequence[Image | PathLike] | None,
        annotations: AnnotationsLike | None,
    ) -> JobInputs:
        """Check what is given for the images, in full before anything is uploaded, and upload files."""
        if sum(source is not None for source in (images, paths, image_set)) != 1:
            raise ValueError("give exactly one of images, paths and image_set")
        if paths is not None:
            return self._inputs_from_files(paths, masks, annotations)
        if isinstance(image_set, str) and (masks is not None or is_path(annotations)):
            image_set = self._transport.get(f"/v1/image-sets/{quote(image_set, safe='')}", ImageSet)
        chosen = image_set.images if isinstance(image_set, ImageSet) else images or []
        known = self._named(annotations, chosen)
        return JobInputs(
            image_ids=None if images is None else image_ids(images),
            image_set_id=image_set.id if isinstance(image_set, ImageSet) else image_set,
            masks=None if masks is None else self._paired(masks, chosen),
            annotations=known,
        )

    def _inputs_from_files(
        self,
        paths: Sequence[PathLike],
        masks: Sequence[Image | PathLike] | None,
        annotations: AnnotationsLike | None,
    ) -> JobInputs:
        pictures = collect_pictures([Path(path) for path in paths])
        names = [picture.name for picture in pictures]
        if masks is not None:
            check_mask_count(masks, len(pictures))
        known = None if annotations is None else parse_annotations(annotations, names)
        if known is not None:
            check_told_apart(known, names)
        images = upload_pictures(self._transport, pictures)
        check_distinct(images)
        # The service may know a picture by the name of an earlier upload, so annotations go by id.
        ids = dict(zip(names, image_ids(images), strict=True))
        return JobInputs(
            image_ids=image_ids(images),
            image_set_id=None,
            masks=None if masks is None else self._paired(masks, images),
            annotations=None if known is None else by_id(known, ids),
        )

    def _paired(self, masks: Sequence[Image | PathLike], images: Sequence[Image | str]) -> dict[str, str]:
        """Upload masks and pair them with their images."""
        check_mask_count(masks, len(images))
        return dict(zip(image_ids(images), mask_ids(self._transport, masks), strict=True))

    def _named(self, annotations: AnnotationsLike | None, images: Sequence[Image | str]) -> Annotations | None:
        """Read annotations of uploaded images; what a file calls by name is looked up."""
        if annotations is None:
            return None
        if not is_path(annotations):
            return parse_annotations(annotations, [])
        found = [image if isinstance(image, Image) else self._image(image) for image in images]
        return parse_annotations(annotations, [image.name for image in found])

    def _image(self, image_id: str) -> Image:
        return self._transport.get(f"/v1/images/{quote(image_id, safe='')}", Image)

    def annotations(self, job: JobOrId) -> Annotations:
        """Return what a job was told of its images, by their ids, with what was told from names filled in."""
        return self._transport.get(job_path(job, "annotations"), Annotations)

    def get(self, job: JobOrId) -> Job:
        """Return the job as it stands now."""
        return self._transport.get(job_path(job), Job)

    def events(self, job: JobOrId, *, after: int = 0) -> Iterator[JobEvent]:
        """Yield the events of a job with `seq` beyond `after`, as they happen, up to the one that ends it."""
        yield from EventLog(self._transport, job_path(job, "events"), after=after)

    def wait(
        self,
        job: JobOrId,
        *,
        timeout_s: float | None = None,
        on_event: Callable[[JobEvent], None] | None = None,
    ) -> Job:
        """Wait until the job has ended, however it ended, and return it.

        Raises:
            WaitTimeoutError: it has not ended within `timeout_s`; it goes on.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        log = EventLog(self._transport, job_path(job, "events"), deadline=deadline)
        for event in log:
            if on_event:
                on_event(event)
        latest = self.get(job)
        if timeout_s is not None and not latest.state.is_terminal:
            raise WaitTimeoutError(latest.id, timeout_s)
        return latest

    def cancel(self, job: JobOrId, *, reason: str | None = None) -> Job:
        """Ask a job to stop; asking again, or when it has ended, does no harm."""
        return self._transport.post(job_path(job, "cancel"), Job, body=CancelRequest(reason=reason))

    def manifest(self, job: JobOrId) -> Manifest:
        """Return what a succeeded job made."""
        return self._transport.get(job_path(job, "artifacts"), Manifest)

    def fetch(
        self, job: JobOrId, folder: PathLike, *, on_artifact: Callable[[Artifact], None] | None = None
    ) -> Manifest:
        """Download all artifacts and `manifest.json` into a folder; files that are there and right are kept.

        Raises:
            DamagedDownloadError: bytes arrived that do not have the manifest's checksum.
        """
        manifest = self.manifest(job)
        fetch_result(self._transport, manifest, Path(folder), on_artifact=on_artifact)
        return manifest

    def transfer(
        self,
        job: JobOrId,
        *,
        source: Image | str,
        points: Sequence[tuple[float, float]],
        targets: Sequence[Image | str] | None = None,
        coords: Coordinates = "pixel",
    ) -> TransferResponse:
        """Carry points (x, y) of one image, or of the `atlas`, to others (to all when `targets` is left out)."""
        body = TransferRequest(
            source=id_of(source),
            points=list(points),
            targets=None if targets is None else image_ids(targets),
            coords=coords,
        )
        return self._transport.post(job_path(job, "transfer"), TransferResponse, body=body)

    def evaluate(
        self,
        job: JobOrId,
        *,
        keypoints: Mapping[str, Sequence[Keypoint]],
        boxes: Mapping[str, Box] | None = None,
        threshold: Threshold = "bbox",
        alphas: Sequence[float] = (0.1, 0.05, 0.01),
        cycles: Sequence[int] = (),
        keypoint_schema: KeypointSchema | Mapping[str, JsonValue] | str | None = None,
        azimuths: Mapping[str, int] | None = None,
    ) -> EvaluationResponse:
        """Score a result with known keypoints: image id -> [(x, y, visible), …] in pixels.

        `cycles` asks for k-cycle PCK too, for lengths k from 2 to 4. `keypoint_schema` says what the keypoints are, or
        names a table such as `spair71k/car`: figures for those that only their place tells apart come along. So do
        figures by change of viewpoint with `azimuths`: image id -> side in eighths of a turn, 0 to 7.
        """
        body = EvaluationRequest.model_validate(
            {
                "keypoints": keypoints,
                "boxes": boxes,
                "threshold": threshold,
                "alphas": alphas,
                "cycles": cycles,
                "keypoint_schema": keypoint_schema,
                "azimuths": azimuths,
            }
        )
        return self._transport.post(job_path(job, "evaluations"), EvaluationResponse, body=body)

    def edit(
        self,
        job: JobOrId,
        layer_path: PathLike,
        *,
        space: EditSpace = "atlas",
        image: Image | str | None = None,
        targets: Sequence[Image | str] | None = None,
        blend: EditBlend = "over",
        opacity: float = 1.0,
        saliency: bool = False,
        max_side: int = 1024,
        name: str | None = None,
    ) -> Edit:
        """Lay paint over all images of a finished job (or over `targets`).

        The file at `layer_path` covers the whole atlas, or with space `image` all of `image`. The same file and
        options make one edit, however often they are sent.

        Raises:
            FileNotFoundError: there is no such file.
        """
        spec = EditSpec(
            space=space,
            image=None if image is None else id_of(image),
            targets=None if targets is None else image_ids(targets),
            blend=blend,
            opacity=opacity,
            saliency=saliency,
            max_side=max_side,
            name=name,
        )
        return send_edit(self._transport, job_path(job, "edits"), Path(layer_path), spec)

    def fetch_edit(self, edit: Edit, folder: PathLike, *, on_picture: OnPicture | None = None) -> dict[str, Path]:
        """Download the pictures of an edit and `edit.json` into a folder; return each image's composite by its id.

        Raises:
            DamagedDownloadError: bytes arrived that do not have the edit's checksum.
        """
        return fetch_pictures(self._transport, edit, Path(folder), on_picture=on_picture)

    def pair_map(self, job: JobOrId, source: Image | str, target: Image | str, *, max_side: int | None = None) -> bytes:
        """Return the map from one image, or the `atlas`, to another as safetensors: `map` and `confidence`.

        `max_side` is the number of cells along the source's longer side; left out, the map comes as it is stored.
        """
        names = (quote(id_of(frame), safe="") for frame in (source, target))
        params = {} if max_side is None else {"max_side": max_side}
        return fetch_pair_map(self._transport, "/".join([job_path(job, "maps"), *names]), params)


def is_path(annotations: AnnotationsLike | None) -> TypeGuard[PathLike]:
    """Tell whether annotations are still to be read."""
    return isinstance(annotations, str | Path)


def parse_annotations(given: AnnotationsLike, names: Sequence[str]) -> Annotations:
    """Return annotations; of a file what it says of pictures so named.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: they have a fault, or tell nothing of the pictures.
    """
    if is_path(given):
        return read_annotations(Path(given), names)
    return given if isinstance(given, Annotations) else TypeAdapter(AnnotationsInput).validate_python(given)


def check_told_apart(annotations: Annotations, names: Sequence[str]) -> None:
    """Refuse annotations of a file name that several pictures have.

    Raises:
        ValueError: there is one.
    """
    for name, count in Counter(names).items():
        if count > 1 and name in annotations.images:
            raise ValueError(
                f"{count} of the pictures are called {name!r}, and the annotations do not tell which they mean; "
                "rename all but one, or upload the pictures and annotate them by id"
            )


def by_id(annotations: Annotations, ids: Mapping[str, str]) -> Annotations:
    """Return annotations with ids in place of file names; an image that comes by both stays so, to be refused."""
    entries = annotations.images
    images = {name if ids.get(name) in entries else ids.get(name, name): entry for name, entry in entries.items()}
    return annotations.model_copy(update={"images": images})


def new_key() -> str:
    """Return a fresh Idempotency-Key."""
    return uuid4().hex
