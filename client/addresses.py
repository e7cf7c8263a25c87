"""Addresses of jobs, and the ids of things that are given as themselves or by id."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from api_schemas.images import Image
from api_schemas.jobs import Job

PathLike = str | Path
JobOrId = Job | str


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
