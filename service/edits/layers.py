"""Receive a painted layer and check that it fits what it is to cover."""

from typing import Final

import numpy as np

from alignment.layers import EmptyLayerError, Layer
from alignment.sampling import ImageSize
from api_schemas.edits import EditSpec
from service.images.decoding import PictureError, PictureLimits, read_rgba
from service.json_bodies import parse_json
from service.problems import LAYER_EMPTY, LAYER_SHAPE, MALFORMED_BODY, json_pointer
from service.queries.frames import ATLAS, Frame, faulty
from service.settings import ServiceSettings
from service.uploads import ReceivedFile, ReceivedForm

LAYER_PART: Final = "layer"
SPEC_PART: Final = "spec"
MAX_LAYER_PIXELS: Final = 4096 * 4096
LAYER: Final = json_pointer(LAYER_PART)


def read_spec(form: ReceivedForm) -> EditSpec:
    """Return what the form asks for.

    Raises:
        ProblemError: the part is missing, or does not fit its schema.
    """
    if SPEC_PART not in form.fields:
        detail = f'the form needs a part {SPEC_PART!r} with JSON such as {{"space": "atlas"}}'
        raise faulty(MALFORMED_BODY, json_pointer(SPEC_PART), "missing", detail)
    return parse_json(form.fields[SPEC_PART], EditSpec, pointer=(SPEC_PART,))


def only_layer(form: ReceivedForm) -> ReceivedFile:
    """Return the one file of the form.

    Raises:
        ProblemError: there is none, or more than one.
    """
    if len(form.files) != 1:
        detail = f"the form needs one file in a part {LAYER_PART!r}; it has {len(form.files)}"
        raise faulty(MALFORMED_BODY, LAYER, "missing" if not form.files else "repeated-part", detail)
    return form.files[0]


def read_layer(file: ReceivedFile, source: Frame, settings: ServiceSettings) -> Layer:
    """Decode a layer.

    Args:
        file: PNG, WebP or JPEG; opaque where it has no alpha.
        source: the atlas or the image that it is to cover.
        settings: for the limits.

    Raises:
        ProblemError: not such a file, damaged, too large, of another shape than the source, or without any paint.
    """
    try:
        picture = read_rgba(file.path, PictureLimits(MAX_LAYER_PIXELS, settings.max_image_side))
    except PictureError as error:
        raise faulty(error.kind, LAYER, error.code, f"{file.name!r}: {error.detail}") from error
    _check_shape(ImageSize(*picture.size), source)
    try:
        return Layer(np.asarray(picture))
    except EmptyLayerError as error:
        raise faulty(LAYER_EMPTY, LAYER, "empty", str(error)) from error


def _check_shape(layer: ImageSize, source: Frame) -> None:
    """Refuse a layer that cannot be its source scaled and rounded to whole pixels."""
    width, height = source.size.width, source.size.height
    if abs(layer.width - layer.height * width / height) <= 1 or abs(layer.height - layer.width * height / width) <= 1:
        return
    is_what = f"the layer is {layer.width} x {layer.height}"
    if source.name == ATLAS:
        detail = f"{is_what}, but the atlas is square; make both sides equal, such as 1024 x 1024"
    else:
        detail = f"{is_what}, but the image is {width} x {height}; give the layer this size, or the same shape scaled"
    raise faulty(LAYER_SHAPE, LAYER, "shape", detail)
