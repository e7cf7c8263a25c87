"""Every answer that is not a success: a catalogue of problems and the exception that carries one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api_schemas.problems import FieldError, Problem

PROBLEM_MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class ProblemKind:
    """A kind of problem: its code, which ends the `type` URI, the HTTP status and a title."""

    code: str
    status: int
    title: str

    @property
    def type(self) -> str:
        """Stable URI of the kind."""
        return f"/problems/{self.code}"


MALFORMED_BODY = ProblemKind("malformed-body", 400, "The request body cannot be read")
INVALID_CURSOR = ProblemKind("invalid-cursor", 400, "The cursor does not belong to this list")
BAD_REQUEST = ProblemKind("bad-request", 400, "The request cannot be understood")
NOT_FOUND = ProblemKind("not-found", 404, "There is no such resource")
METHOD_NOT_ALLOWED = ProblemKind("method-not-allowed", 405, "The resource does not know this HTTP method")
BASE_NOT_FINISHED = ProblemKind("base-not-finished", 409, "The job to be extended has no result")
JOB_USED_NOT_FINISHED = ProblemKind("job-used-not-finished", 409, "A job that the parameters name has no result")
CAPABILITY_MISSING = ProblemKind("capability-missing", 409, "The result cannot answer this question")
IDEMPOTENCY_IN_PROGRESS = ProblemKind("idempotency-in-progress", 409, "The first request with this key is at work")
JOB_NOT_FINISHED = ProblemKind("job-not-finished", 409, "The job has not finished")
RESULT_UNAVAILABLE = ProblemKind("result-unavailable", 409, "The job has no result")
WEIGHTS_MISSING = ProblemKind("weights-missing", 409, "No worker has the weights that the job needs")
BODY_TOO_LARGE = ProblemKind("body-too-large", 413, "The request is too large")
EDIT_TOO_LARGE = ProblemKind("edit-too-large", 413, "The results of the edit would have too many pixels")
IMAGE_TOO_LARGE = ProblemKind("image-too-large", 413, "An image is too large")
MESH_TOO_LARGE = ProblemKind("mesh-too-large", 413, "A mesh is too large")
TOO_MANY_IMAGES = ProblemKind("too-many-images", 413, "There are too many images")
TOO_MUCH_MEMORY = ProblemKind("too-much-memory", 413, "The job would need too much memory")
TOO_MUCH_WORK = ProblemKind("too-much-work", 413, "The job would cost too much work")
UNSUPPORTED_MEDIA_TYPE = ProblemKind("unsupported-media-type", 415, "The media type of the request is not taken here")
RANGE_NOT_SATISFIABLE = ProblemKind("range-not-satisfiable", 416, "The range lies outside the content")
ANNOTATIONS_MISMATCH = ProblemKind("annotations-mismatch", 422, "The annotations do not fit the images or the method")
BASE_MISMATCH = ProblemKind("base-mismatch", 422, "The submission does not fit the job to be extended")
BASE_NOT_FOUND = ProblemKind("base-not-found", 422, "The job to be extended is not known")
IDEMPOTENCY_KEY_REUSED = ProblemKind("idempotency-key-reused", 422, "The key was used for another request")
IMAGE_NOT_FOUND = ProblemKind("image-not-found", 422, "An image is not known")
IMAGE_SET_NOT_FOUND = ProblemKind("image-set-not-found", 422, "The image set is not known")
IMAGE_SHAPE = ProblemKind("image-shape", 422, "An image is too small, or too long and thin")
IMAGE_TRUNCATED = ProblemKind("image-truncated", 422, "An image file is cut short or damaged")
JOB_USED_NOT_FOUND = ProblemKind("job-used-not-found", 422, "A job that the parameters name is not known")
INVALID_PARAMS = ProblemKind("invalid-params", 422, "The parameters do not fit the method")
LAYER_EMPTY = ProblemKind("layer-empty", 422, "Nothing is painted on the layer")
LAYER_SHAPE = ProblemKind("layer-shape", 422, "The layer has not the shape of what it covers")
MASK_EMPTY = ProblemKind("mask-empty", 422, "A mask is empty")
MASK_SIZE = ProblemKind("mask-size", 422, "A mask is not as large as its image")
MASKS_MISMATCH = ProblemKind("masks-mismatch", 422, "Images and masks do not belong together")
MASKS_NOT_TAKEN = ProblemKind("masks-not-taken", 422, "The method takes no masks")
MESH_DAMAGED = ProblemKind("mesh-damaged", 422, "A mesh file is cut short or damaged")
MESH_EMPTY = ProblemKind("mesh-empty", 422, "A mesh has no surface")
MESH_NOT_FOUND = ProblemKind("mesh-not-found", 422, "A mesh that the parameters name is not known")
NOT_AN_IMAGE = ProblemKind("not-an-image", 422, "A file is not an image")
NOT_EXTENDABLE = ProblemKind("not-extendable", 422, "The method cannot add images to a result")
REPEATED_IMAGE = ProblemKind("repeated-image", 422, "An image stands twice in the set")
TOO_FEW_IMAGES = ProblemKind("too-few-images", 422, "There are too few images")
UNKNOWN_METHOD = ProblemKind("unknown-method", 422, "The method is not known")
UNSUPPORTED_MESH = ProblemKind("unsupported-mesh", 422, "A file is not a mesh that can be read")
VALIDATION_ERROR = ProblemKind("validation-error", 422, "The request does not fit its schema")
INTERNAL_ERROR = ProblemKind("internal-error", 500, "The service failed")
NOT_READY = ProblemKind("not-ready", 503, "The service cannot work at the moment")
INSUFFICIENT_STORAGE = ProblemKind("insufficient-storage", 507, "The service has no space left")

PROBLEM_KINDS: dict[str, ProblemKind] = {
    kind.code: kind for kind in list(globals().values()) if isinstance(kind, ProblemKind)
}


class ProblemError(HTTPException):
    """A refusal; becomes a problem document.

    It derives from HTTPException because that is what the framework lets pass while it reads a request body.
    """

    def __init__(
        self,
        kind: ProblemKind,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(kind.status, detail, dict(headers or {}))
        self.kind = kind
        self.errors = list(errors)
        self.retry_after_s = retry_after_s


def problem_response(request: Request, error: ProblemError) -> Response:
    """Write the problem document of an error that happened while serving a request."""
    problem = Problem(
        type=error.kind.type,
        title=error.kind.title,
        status=error.kind.status,
        detail=error.detail,
        instance=request.url.path,
        code=error.kind.code,
        request_id=getattr(request.state, "request_id", ""),
        errors=error.errors,
        retry_after_s=error.retry_after_s,
    )
    headers = {"Cache-Control": "no-store", **(error.headers or {})}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    return Response(problem.model_dump_json(), error.kind.status, headers, PROBLEM_MEDIA_TYPE)


def json_pointer(*parts: str | int) -> str:
    """Join keys and indices to a JSON Pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
