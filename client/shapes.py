"""The part of the SDK about shapes: meshes to begin with, and questions in space to a result."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from api_schemas.images import Image
from api_schemas.meshes import Mesh
from api_schemas.pagination import Page
from api_schemas.pose_evaluations import PoseAlignment, PoseEvaluationRequest, PoseEvaluationResponse
from api_schemas.queries import Coordinates, LiftRequest, LiftResponse, ProjectRequest, ProjectResponse
from client.addresses import JobOrId, PathLike, id_of, image_ids, job_path
from client.meshes import send_mesh
from client.transport import Transport

Matrix = Sequence[Sequence[float]]


class ShapeCalls:
    """Calls about meshes and shapes; see `client.sdk.Congeal`."""

    _transport: Transport

    def upload_mesh(self, path: PathLike, *, name: str | None = None) -> Mesh:
        """Upload a GLB, OBJ, PLY or ZIP file; what an OBJ or PLY refers to, and lies beside it, goes with it.

        The answer's `id` is what parameters of methods take; its `warnings` say what was changed or is missing.

        Raises:
            FileNotFoundError: there is no such file.
        """
        return send_mesh(self._transport, Path(path), name=name)

    def meshes(self) -> Iterator[Mesh]:
        """Yield all uploaded meshes, newest first."""
        cursor: str | None = None
        while True:
            params = {} if cursor is None else {"cursor": cursor}
            page = self._transport.get("/v1/meshes", Page[Mesh], params=params)
            yield from page.items
            if page.next_cursor is None:
                return
            cursor = page.next_cursor

    def lift(
        self,
        job: JobOrId,
        *,
        image: Image | str,
        points: Sequence[tuple[float, float]],
        coords: Coordinates = "pixel",
    ) -> LiftResponse:
        """Tell which places [x, y, z] of the shape points (x, y) of an image, or of the `atlas`, show."""
        body = LiftRequest(image=id_of(image), points=list(points), coords=coords)
        return self._transport.post(job_path(job, "lift"), LiftResponse, body=body)

    def project(
        self,
        job: JobOrId,
        *,
        points: Sequence[tuple[float, float, float]],
        targets: Sequence[Image | str] | None = None,
        coords: Coordinates = "pixel",
    ) -> ProjectResponse:
        """Tell where images (all when `targets` is left out) show places [x, y, z] of the canonical frame."""
        names = None if targets is None else image_ids(targets)
        body = ProjectRequest(points=list(points), targets=names, coords=coords)
        return self._transport.post(job_path(job, "project"), ProjectResponse, body=body)

    def evaluate_poses(
        self,
        job: JobOrId,
        *,
        cameras: Mapping[str, Mapping[str, JsonValue]],
        alignment: PoseAlignment = "rotation",
        symmetries: Sequence[Matrix] | None = None,
    ) -> PoseEvaluationResponse:
        """Score found poses with known cameras by image id.

        Each camera is `{"camera_to_world": 4x4}` with OpenGL axes, with `fov_deg` if it is known, or
        `{"world_to_camera": 4x4}` with OpenCV axes. `symmetries` are rotations 3x3 of the known frame that leave the
        object as it is.
        """
        given: dict[str, Any] = {"cameras": cameras, "alignment": alignment}
        if symmetries is not None:
            given["symmetries"] = symmetries
        body = PoseEvaluationRequest.model_validate(given)
        return self._transport.post(job_path(job, "pose-evaluations"), PoseEvaluationResponse, body=body)
