"""Make, find, list and remove edits."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from api_schemas.base import ULID_PATTERN, new_id
from api_schemas.edits import Edit, EditLinks, EditPart, EditPicture, EditResult, EditSpec
from api_schemas.manifest import ManifestImage
from api_schemas.pagination import Page
from service.artifacts.service import find_succeeded_job
from service.dependencies import Services
from service.edits.layers import only_layer, read_layer, read_spec
from service.edits.pictures import EditInProgress, make_pictures, result_size
from service.identifiers import looks_like
from service.jobs.service import find_job_record, get_job_record
from service.pagination import PageRequest, cut_page
from service.problems import EDIT_TOO_LARGE, NOT_FOUND, ProblemError, json_pointer
from service.queries.frames import ATLAS, Frame, Frames, faulty
from service.queries.open_results import OpenResult
from service.uploads import ReceivedForm
from storage.blobs.keys import edit_prefix
from storage.database.records import EditRecord, NewEdit
from storage.database.repositories.edits import EditRepository

EDIT_ID = rf"edt_{ULID_PATTERN}"


@dataclass(frozen=True)
class MadeEdit:
    """The answer to a request for an edit."""

    edit: Edit
    is_new: bool
    """Whether it was made now."""


@dataclass(frozen=True)
class _Request:
    """An edit that can be made, with nothing left open."""

    spec: EditSpec
    source: Frame
    targets: list[ManifestImage]

    def fingerprint(self, layer_sha256: str) -> str:
        """Return a digest that is equal for the same layer and the same specification."""
        canonical = json.dumps(self.spec.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(f"{layer_sha256} {canonical}".encode()).hexdigest()


def create_edit(services: Services, job_id: str, form: ReceivedForm) -> MadeEdit:
    """Carry a painted layer to the images of a job, or return the edit that the same layer and specification made.

    All pictures are stored before the edit is known; on any error none is left. It takes long, but no transaction.

    Raises:
        ProblemError: no result, a specification or a layer that does not fit it, no maps to carry it by, or too many
            pixels to make.
        StorageFullError: no space for the pictures.
    """
    spec, file = read_spec(form), only_layer(form)
    result = services.open_results.get(find_succeeded_job(services, job_id))
    request = _resolve(result, spec)
    _limit_pixels(request, services.settings.max_edit_pixels)
    fingerprint = request.fingerprint(file.sha256)
    with services.database.transaction(read_only=True) as session:
        known = EditRepository(session).by_fingerprint(job_id, fingerprint)
    if known is not None:
        return MadeEdit(to_edit(known), is_new=False)
    layer = read_layer(file, request.source, services.settings)
    edit = EditInProgress(new_id("edt"), result, layer, request.source.index, request.spec)
    record = _make(services, edit, request.targets, fingerprint=fingerprint, layer_sha256=file.sha256)
    return MadeEdit(to_edit(record), is_new=record.id == edit.id)


def find_edit(services: Services, job_id: str, edit_id: str) -> Edit:
    """Return an edit of a job.

    Raises:
        ProblemError: there is no such job, or it has no such edit.
    """
    find_job_record(services, job_id)
    return to_edit(_find_record(services, job_id, edit_id))


def find_result(services: Services, job_id: str, edit_id: str, image_id: str) -> EditResult:
    """Return what an edit has made for one image.

    Raises:
        ProblemError: there is no such job, edit or result.
    """
    edit = find_edit(services, job_id, edit_id)
    for result in edit.results:
        if result.image == image_id:
            return result
    raise ProblemError(NOT_FOUND, f"edit {edit_id} has no result for image {image_id[:64]!r}; its results list them")


def list_edits(services: Services, job_id: str, page: PageRequest) -> Page[Edit]:
    """Return a page of a job's edits.

    Raises:
        ProblemError: there is no such job.
    """
    with services.database.transaction(read_only=True) as session:
        get_job_record(session, job_id)
        return cut_page(EditRepository(session).page(job_id, page.limit + 1, page.before), page, to_edit)


def delete_edit(services: Services, job_id: str, edit_id: str) -> None:
    """Remove an edit and its pictures.

    Raises:
        ProblemError: there is no such job or edit.
    """
    with services.database.transaction() as session:
        get_job_record(session, job_id)
        removed = looks_like(edit_id, EDIT_ID) and EditRepository(session).remove(job_id, edit_id)
    if not removed:
        raise _unknown(job_id, edit_id)
    services.blobs.delete_prefix(edit_prefix(job_id, edit_id))


def to_edit(record: EditRecord) -> Edit:
    """Show an edit to the client."""
    address = f"/v1/jobs/{record.job_id}/edits/{record.id}"
    return Edit(
        id=record.id,
        job_id=record.job_id,
        created_at=record.created_at,
        layer_sha256=record.layer_sha256,
        spec=EditSpec.model_validate(record.spec),
        results=[_to_result(address, cast(dict[str, Any], result)) for result in record.results],
        links=EditLinks(self=address, job=f"/v1/jobs/{record.job_id}"),
    )


def _to_result(address: str, stored: dict[str, Any]) -> EditResult:
    def picture(part: EditPart) -> EditPicture:
        return EditPicture(href=f"{address}/results/{stored['image']}/{part}", **stored[part])

    return EditResult(**{**stored, "layer": picture("layer"), "composite": picture("composite")})


def _resolve(result: OpenResult, spec: EditSpec) -> _Request:
    frames = Frames(result)
    if spec.image is None:
        source = frames.get(ATLAS, json_pointer("spec", "space"))
    else:
        source = frames.get(spec.image, json_pointer("spec", "image"))
    images = result.manifest.images
    if spec.targets is not None:
        named = enumerate(spec.targets)
        wanted = {frames.get(name, json_pointer("spec", "targets", index)).index for index, name in named}
        images = [image for image in images if image.index in wanted]
    for image in images:
        frames.require_map(frames.get(image.id, ""), source, json_pointer("spec", "image"))
    resolved = spec.model_copy(update={"targets": [image.id for image in images]})
    return _Request(resolved, source, images)


def _limit_pixels(request: _Request, limit: int) -> None:
    sizes = [result_size(image, request.spec.max_side) for image in request.targets]
    count = sum(size.width * size.height for size in sizes)
    if count > limit:
        detail = (
            f"{len(sizes)} results of up to {request.spec.max_side} pixels a side have {count} pixels, the limit is "
            f"{limit}; lower max_side, or name fewer targets at once"
        )
        raise faulty(EDIT_TOO_LARGE, json_pointer("spec", "max_side"), "too-many-pixels", detail)


def _make(
    services: Services,
    edit: EditInProgress,
    targets: Sequence[ManifestImage],
    *,
    fingerprint: str,
    layer_sha256: str,
) -> EditRecord:
    """Store all pictures, then the row; if an equal edit was quicker, or on an error, take the pictures back."""
    job_id = edit.result.manifest.job_id
    record: EditRecord | None = None
    try:
        new = NewEdit(
            id=edit.id,
            job_id=job_id,
            fingerprint=fingerprint,
            layer_sha256=layer_sha256,
            spec=edit.spec.model_dump(mode="json"),
            results=[make_pictures(services, edit, image) for image in targets],
        )
        with services.database.transaction() as session:
            get_job_record(session, job_id)
            record = EditRepository(session).add(new)
        return record
    finally:
        if record is None or record.id != edit.id:
            services.blobs.delete_prefix(edit_prefix(job_id, edit.id))


def _find_record(services: Services, job_id: str, edit_id: str) -> EditRecord:
    if looks_like(edit_id, EDIT_ID):
        with services.database.transaction(read_only=True) as session:
            record = EditRepository(session).get(job_id, edit_id)
        if record is not None:
            return record
    raise _unknown(job_id, edit_id)


def _unknown(job_id: str, edit_id: str) -> ProblemError:
    detail = f"the job has no edit {edit_id[:64]!r}; GET /v1/jobs/{job_id}/edits lists them"
    return ProblemError(NOT_FOUND, detail)
