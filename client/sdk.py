"""The Python SDK: a small synchronous client of the service's HTTP interface."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote
from uuid import uuid4

from pydantic import JsonValue

from api_schemas.edits import Edit, EditBlend, EditSpace, EditSpec
from api_schemas.events import JobEvent
from api_schemas.image_sets import ImageSet, ImageSetCreate
from api_schemas.images import Image
from api_schemas.jobs import CancelRequest, Job, JobCreate, Priority
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
from client.downloads import fetch_result
from client.edits import OnPicture, fetch_pair_map, fetch_pictures, send_edit
from client.errors import WaitTimeoutError
from client.event_stream import EventLog
from client.masks import check_mask_count, mask_ids
from client.transport import Transport
from client.uploads import check_distinct, collect_pictures, upload_pictures

DEFAULT_URL = "http://127.0.0.1:8000"

Threshold = Literal["bbox", "image"]
PathLike = str | Path
JobOrId = Job | str


class Congeal:
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
            extends: a succeeded job to whose result the images are added.
            idempotency_key: makes a repeated call return the first one's job; a fresh one if left out.

        Raises:
            ValueError: none or several of the three are given, or not as many masks as images.
            FileNotFoundError: a path does not exist, or a folder holds no pictures.
        """
        if sum(source is not None for source in (images, paths, image_set)) != 1:
            raise ValueError("give exactly one of images, paths and image_set")
        if paths is not None:
            pictures = collect_pictures([Path(path) for path in paths])
            if masks is not None:
                check_mask_count(masks, len(pictures))
            images = upload_pictures(self._transport, pictures)
            check_distinct(images)
        body = JobCreate(
            method=method,
            params=dict(params or {}),
            seed=seed,
            priority=priority,
            name=name,
            labels=dict(labels or {}),
            deadline_s=deadline_s,
            image_ids=image_ids(images) if images is not None else None,
            image_set_id=image_set.id if isinstance(image_set, ImageSet) else image_set,
            masks=None if masks is None else self._paired(masks, images, image_set),
            extends=None if extends is None else id_of(extends),
        )
        key = idempotency_key or new_key()
        return self._transport.post("/v1/jobs", Job, body=body, idempotency_key=key)

    def _paired(
        self, masks: Sequence[Image | PathLike], images: Sequence[Image | str] | None, image_set: ImageSet | str | None
    ) -> dict[str, str]:
        """Upload masks and pair them with their images."""
        if isinstance(image_set, str):
            image_set = self._transport.get(f"/v1/image-sets/{quote(image_set, safe='')}", ImageSet)
        masked = image_ids(images or (image_set.images if image_set else []))
        check_mask_count(masks, len(masked))
        return dict(zip(masked, mask_ids(self._transport, masks), strict=True))

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
    ) -> EvaluationResponse:
        """Score a result with known keypoints: image id -> [(x, y, visible), …] in pixels.

        `cycles` asks for k-cycle PCK too, for lengths k from 2 to 4.
        """
        body = EvaluationRequest.model_validate(
            {"keypoints": keypoints, "boxes": boxes, "threshold": threshold, "alphas": alphas, "cycles": cycles}
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


def job_path(job: JobOrId, part: str | None = None) -> str:
    """Return the address of a job or of a part of it."""
    path = f"/v1/jobs/{quote(id_of(job), safe='')}"
    return f"{path}/{part}" if part else path


def id_of(thing: Job | Image | str) -> str:
    """Return the id of what is given as itself or by id."""
    return thing if isinstance(thing, str) else thing.id


def image_ids(images: Sequence[Image | str]) -> list[str]:
    """Return the ids of images in order."""
    return [id_of(image) for image in images]


def new_key() -> str:
    """Return a fresh Idempotency-Key."""
    return uuid4().hex
