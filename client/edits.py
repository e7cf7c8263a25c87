"""Send painted layers, and bring what they have made."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from api_schemas.edits import Edit, EditPicture, EditSpec
from client.downloads import atomic_file
from client.errors import DamagedDownloadError
from client.transport import Transport, parse

# The service computes every picture before it answers.
ANSWER_TIMEOUT_S: Final = 600.0
OnPicture = Callable[[Path], None]


def send_edit(transport: Transport, address: str, layer: Path, spec: EditSpec) -> Edit:
    """Send a layer to the address of a job's edits; the same layer and specification make one edit.

    Raises:
        FileNotFoundError: there is no such file.
        ProblemError: the service refused.
    """
    if not layer.is_file():
        raise FileNotFoundError(f"{layer} does not exist; give the picture that holds the paint")

    def post() -> httpx.Response:
        with layer.open("rb") as stream:
            return transport.http.post(
                address,
                data={"spec": spec.model_dump_json(exclude_unset=True)},
                files={"layer": (layer.name, stream, "application/octet-stream")},
                timeout=httpx.Timeout(60.0, read=ANSWER_TIMEOUT_S),
            )

    return parse(transport.send(post), Edit)


def fetch_pictures(
    transport: Transport, edit: Edit, folder: Path, *, on_picture: OnPicture | None = None
) -> dict[str, Path]:
    """Write `layers/NNN.png`, `composites/NNN.png` and `edit.json` below a folder; NNN is an image's place in the set.

    Files that are there and right are kept; none is ever visible half-written.

    Returns:
        The composite's file of each image id.

    Raises:
        DamagedDownloadError: bytes arrived that do not have the stated checksum.
    """
    composites: dict[str, Path] = {}
    for result in edit.results:
        name = f"{result.index:03d}.png"
        files = {folder / "layers" / name: result.layer, folder / "composites" / name: result.composite}
        for path, picture in files.items():
            _fetch(transport, picture, path)
            if on_picture:
                on_picture(path)
        composites[result.image] = folder / "composites" / name
    with atomic_file(folder / "edit.json") as stream:
        stream.write(edit.model_dump_json(indent=2).encode())
    return composites


def fetch_pair_map(transport: Transport, address: str, params: Mapping[str, int]) -> bytes:
    """Return the safetensors file of a map between two frames."""
    return transport.send(lambda: transport.http.get(address, params=dict(params))).content


def _fetch(transport: Transport, picture: EditPicture, path: Path) -> None:
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == picture.sha256:
        return
    content = transport.send(partial(transport.http.get, picture.href)).content
    digest = hashlib.sha256(content).hexdigest()
    if digest != picture.sha256:
        raise DamagedDownloadError(picture.href, expected=picture.sha256, received=digest)
    with atomic_file(path) as stream:
        stream.write(content)
