"""Check an uploaded picture and bring it into one form: upright sRGB without metadata."""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from service.problems import IMAGE_TOO_LARGE, IMAGE_TRUNCATED, NOT_AN_IMAGE, ProblemKind

FORMATS = ("JPEG", "PNG", "WEBP")
JPEG_QUALITY = 95
# What decoders raise on damaged data: there is no common base.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error, zlib.error)
THUMBNAIL_QUALITY = 80

MediaType = Literal["image/png", "image/jpeg"]


@dataclass(frozen=True)
class PictureLimits:
    """The largest picture that is taken."""

    pixels: int
    side: int


@dataclass(frozen=True)
class NormalisedPicture:
    """A picture ready to be stored."""

    width: int
    height: int
    media_type: MediaType


class PictureError(Exception):
    """A picture that is not taken, and why."""

    def __init__(self, kind: ProblemKind, code: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.code = code
        self.detail = detail


def refuse_bombs() -> None:
    """Make the decoder's warning about decompression bombs an error in this process."""
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def normalise(source: Path, target: Path, limits: PictureLimits) -> NormalisedPicture:
    """Write the first frame of `source` to `target`, oriented, in sRGB, over white, without metadata.

    JPEG stays JPEG (quality 95, no chroma subsampling); PNG and WebP become PNG. The format is told from the content.

    Raises:
        PictureError: not an image of these formats, cut short or damaged, or above the limits, which are checked
            before anything is decoded.
        OSError: `target` cannot be written.
    """
    with _open(source) as picture:
        _check_size(picture.size, limits)
        is_jpeg = picture.format == "JPEG"
        rgb = _decode(picture)
    if is_jpeg:
        rgb.save(target, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        rgb.save(target, "PNG", compress_level=4)
    return NormalisedPicture(rgb.width, rgb.height, "image/jpeg" if is_jpeg else "image/png")


def read_rgba(source: Path, limits: PictureLimits) -> Image.Image:
    """Return the first frame of `source`, oriented, in sRGB, with straight alpha; opaque where the file has none.

    Raises:
        PictureError: not an image of these formats, cut short or damaged, or above the limits, which are checked
            before anything is decoded.
    """
    with _open(source) as picture:
        _check_size(picture.size, limits)
        _load(picture)
        profile = picture.info.get("icc_profile")
        upright = _eight_bits(_upright(picture))
    if not upright.has_transparency_data:
        return _to_srgb(upright, profile).convert("RGBA")
    rgba = upright.convert("RGBA")
    if profile is None:
        return rgba
    colours = _to_srgb(rgba.convert("RGB"), profile)
    colours.putalpha(rgba.getchannel("A"))
    return colours


def thumbnail(source: Path, size: int) -> bytes:
    """Return a stored picture as WebP with its longer side at most `size` pixels."""
    with Image.open(source, formats=FORMATS) as picture:
        picture.draft("RGB", (size, size))
        picture.thumbnail((size, size), Image.Resampling.LANCZOS)
        output = io.BytesIO()
        picture.convert("RGB").save(output, "WEBP", quality=THUMBNAIL_QUALITY)
    return output.getvalue()


def _open(source: Path) -> Image.Image:
    try:
        return Image.open(source, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(IMAGE_TOO_LARGE, "too-many-pixels", f"it declares too many pixels: {error}") from error
    except (UnidentifiedImageError, *DAMAGE) as error:
        if _begins_like_an_image(source):
            raise _damaged(error) from error
        raise PictureError(
            NOT_AN_IMAGE, "not-an-image", f"its content is none of {', '.join(FORMATS)}; convert it to one of them"
        ) from error


def _begins_like_an_image(source: Path) -> bool:
    with source.open("rb") as stream:
        head = stream.read(12)
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


def _damaged(error: BaseException) -> PictureError:
    detail = f"it is cut short or damaged ({error}); check the original and upload it again"
    return PictureError(IMAGE_TRUNCATED, "truncated", detail)


def _check_size(size: tuple[int, int], limits: PictureLimits) -> None:
    width, height = size
    if width * height > limits.pixels:
        detail = f"it has {width} x {height} = {width * height} pixels, the limit is {limits.pixels}; scale it down"
        raise PictureError(IMAGE_TOO_LARGE, "too-many-pixels", detail)
    if max(width, height) > limits.side:
        detail = f"it is {width} x {height}, the limit is {limits.side} pixels a side; scale it down"
        raise PictureError(IMAGE_TOO_LARGE, "side-too-long", detail)


def _load(picture: Image.Image) -> None:
    try:
        picture.load()
    except DAMAGE as error:
        raise _damaged(error) from error


def _decode(picture: Image.Image) -> Image.Image:
    _load(picture)
    profile = picture.info.get("icc_profile")
    upright = _upright(picture)
    return _over_white(_eight_bits(upright), profile)


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except DAMAGE:
        # A damaged EXIF block says nothing about the orientation; the pixels are whole.
        return picture


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; a plain conversion would clip it."""
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        values = np.asarray(picture, dtype=np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    return picture


def _over_white(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to sRGB, transparency over white."""
    if not picture.has_transparency_data:
        return _to_srgb(picture, profile)
    rgba = picture.convert("RGBA")
    canvas = Image.new("RGB", picture.size, "white")
    colours = _to_srgb(rgba.convert("RGB"), profile)
    canvas.paste(colours, mask=rgba.getchannel("A"))
    return canvas


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    if picture.mode not in ("RGB", "L", "CMYK"):
        picture = picture.convert("RGB")
    if profile:
        try:
            return _convert_profile(picture, profile)
        except (ImageCms.PyCMSError, *DAMAGE):
            # A profile that is damaged or made for other channels is no reason to refuse the picture.
            pass
    return picture.convert("RGB")


def _convert_profile(picture: Image.Image, profile: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if picture.mode == "L" and source.profile.xcolor_space.strip() != "GRAY":
        picture = picture.convert("RGB")
    converted = ImageCms.profileToProfile(
        picture,
        source,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if converted is None:
        raise ValueError("the profile cannot be applied")
    return converted
