"""Succeeded jobs with maps of images of the sizes that they were made for."""

from pathlib import Path
from typing import Any

from alignment.forms import Form
from service.dependencies import Services
from tests.alignment.builders import SIZES
from tests.service.pictures import encoded, plain, png
from tests.service.requests import Client, submit, upload
from tests.service.results import succeed

COLOURS = ("teal", "olive", "silver")
PICTURE_SIZES = [(size.width, size.height) for size in SIZES]


def finished_job(
    client: Client, services: Services, folder: Path, form: Form, method: str, *, noisy: bool = False
) -> dict[str, Any]:
    """Submit a job on plain or noisy pictures of the sizes of `tests.alignment.builders` and give it the result."""
    files = [
        (f"{index}.png", png(index, size) if noisy else encoded(plain(colour, size)))
        for index, (size, colour) in enumerate(zip(PICTURE_SIZES, COLOURS, strict=True))
    ]
    image_ids = [item["id"] for item in upload(client, files).json()["items"]]
    job = submit(client, image_ids, method=method)
    succeed(services, form, folder)
    return job
