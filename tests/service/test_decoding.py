"""What becomes of a picture on its way in."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from service.images.decoding import PictureError, PictureLimits, normalise, thumbnail
from tests.service.pictures import encoded, marked, noise, plain

LIMITS = PictureLimits(pixels=250 * 250, side=300)
ORIENTATION = 0x0112


def normalised(content: bytes, folder: Path, limits: PictureLimits = LIMITS) -> Image.Image:
    source, target = folder / "source", folder / "target"
    source.write_bytes(content)
    told = normalise(source, target, limits)
    picture = Image.open(target)
    picture.load()
    assert picture.size == (told.width, told.height)
    assert media_type(picture) == told.media_type
    return picture


def media_type(picture: Image.Image) -> str:
    return Image.MIME[picture.format or ""]


def refusal(content: bytes, folder: Path, limits: PictureLimits = LIMITS) -> PictureError:
    with pytest.raises(PictureError) as caught:
        normalised(content, folder, limits)
    return caught.value


def pixel(picture: Image.Image, place: tuple[int, int]) -> tuple[int, ...]:
    value = picture.getpixel(place)
    assert isinstance(value, tuple)
    return tuple(int(channel) for channel in value)


@pytest.mark.parametrize(
    ("file_format", "stored"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/png")]
)
def test_formats_are_told_by_content_and_stored_as_jpeg_or_png(file_format: str, stored: str, tmp_path: Path) -> None:
    picture = normalised(encoded(plain((200, 100, 50)), file_format), tmp_path)
    assert media_type(picture) == stored
    assert picture.mode == "RGB"
    assert np.abs(np.array(pixel(picture, (5, 5))) - (200, 100, 50)).max() <= 3


def test_png_keeps_every_pixel(tmp_path: Path) -> None:
    original = noise(1)
    assert np.array_equal(np.asarray(normalised(encoded(original), tmp_path)), np.asarray(original))


def test_jpeg_keeps_its_colours_at_full_resolution(tmp_path: Path) -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = (255, 0, 0)
    stripes[:, 1::2] = (0, 0, 255)
    sharp = encoded(Image.fromarray(stripes), "JPEG", quality=98, subsampling=0)
    kept = np.asarray(normalised(sharp, tmp_path), dtype=int)
    # Halved chroma would mix neighbouring columns to purple.
    assert np.abs(kept - stripes).max() < 40


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied_and_removed(file_format: str, orientation: int, tmp_path: Path) -> None:
    upright = marked()
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    turned = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = encoded(turned, file_format, exif=exif.tobytes(), **({"quality": 95} if file_format != "PNG" else {}))
    picture = normalised(content, tmp_path)
    assert picture.size == upright.size
    assert np.abs(np.array(pixel(picture, (3, 2))) - (255, 0, 0)).max() < 30
    assert np.abs(np.array(pixel(picture, (36, 17))) - (255, 255, 255)).max() < 30
    assert not picture.getexif()


def test_damaged_exif_does_not_matter(tmp_path: Path) -> None:
    content = encoded(plain("blue"), "JPEG", exif=b"Exif\x00\x00" + b"\xff" * 40)
    assert pixel(normalised(content, tmp_path), (1, 1))[2] > 250


def test_metadata_is_stripped(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    content = encoded(plain("blue"), "JPEG", exif=exif.tobytes(), comment=b"secret note", icc_profile=srgb_profile())
    normalised(content, tmp_path)
    stored = (tmp_path / "target").read_bytes()
    assert b"secret" not in stored
    assert b"ICC_PROFILE" not in stored


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """An sRGB profile whose red and green primaries are exchanged."""
    profile = bytearray(srgb_profile())
    (count,) = struct.unpack(">I", profile[128:132])
    for index in range(count):
        tag = bytes(profile[132 + 12 * index : 136 + 12 * index])
        if tag in (b"rXYZ", b"gXYZ"):
            profile[132 + 12 * index : 136 + 12 * index] = b"gXYZ" if tag == b"rXYZ" else b"rXYZ"
    return bytes(profile)


def test_colours_are_converted_by_their_profile(tmp_path: Path) -> None:
    content = encoded(plain((255, 0, 0)), icc_profile=swapped_profile())
    red, green, blue = pixel(normalised(content, tmp_path), (1, 1))
    assert green > 240
    assert max(red, blue) < 40


def test_transparent_pictures_are_converted_too(tmp_path: Path) -> None:
    content = encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), icc_profile=swapped_profile())
    red, green, _ = pixel(normalised(content, tmp_path), (1, 1))
    assert green > 240
    assert 110 < red < 145


def test_a_damaged_profile_does_not_matter(tmp_path: Path) -> None:
    content = encoded(plain((10, 20, 30)), icc_profile=b"no profile at all")
    assert pixel(normalised(content, tmp_path), (1, 1)) == (10, 20, 30)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_white(mode: str, tmp_path: Path) -> None:
    values = np.zeros((8, 8, 4), np.uint8)
    values[:, 4:, 3] = 255
    picture = Image.fromarray(values)
    content = encoded(picture.quantize(2) if mode == "P" else picture.convert(mode))
    kept = normalised(content, tmp_path)
    assert pixel(kept, (0, 0)) == (255, 255, 255)
    assert pixel(kept, (7, 0)) == (0, 0, 0)


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257 * 100, 65535]], np.uint16)
    kept = np.asarray(normalised(encoded(Image.fromarray(values)), tmp_path))
    assert kept[0, :, 0].tolist() == [0, 100, 255]


def test_sixteen_bit_colour_is_read(tmp_path: Path) -> None:
    row = b"\x00" + struct.pack(">6H", 65535, 0, 0, 0, 257 * 100, 65535)
    header = struct.pack(">2I5B", 2, 1, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(row)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    kept = normalised(b"\x89PNG\r\n\x1a\n" + body, tmp_path)
    assert [pixel(kept, (0, 0)), pixel(kept, (1, 0))] == [(255, 0, 0), (0, 100, 255)]


@pytest.mark.parametrize("mode", ["1", "L", "CMYK"])
def test_other_colour_modes_become_rgb(mode: str, tmp_path: Path) -> None:
    content = encoded(plain("white").convert(mode), "JPEG" if mode == "CMYK" else "PNG")
    assert min(pixel(normalised(content, tmp_path), (1, 1))) > 250


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    content = encoded(plain("red"), "WEBP", save_all=True, append_images=[plain("blue")], lossless=True)
    kept = normalised(content, tmp_path)
    assert pixel(kept, (1, 1)) == (255, 0, 0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        encoded(plain("red"), "GIF"),
        encoded(plain("red"), "TIFF"),
        encoded(plain("red"), "BMP"),
    ],
    ids=["empty", "text", "svg", "gif", "tiff", "bmp"],
)
def test_other_content_is_refused(content: bytes, tmp_path: Path) -> None:
    error = refusal(content, tmp_path)
    assert error.kind.code == "not-an-image"
    assert "JPEG, PNG, WEBP" in error.detail


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_file_that_is_cut_short_is_refused(file_format: str, share: float, tmp_path: Path) -> None:
    content = encoded(noise(2, (100, 80)), file_format)
    error = refusal(content[: max(16, int(len(content) * share))], tmp_path)
    assert error.kind.code == "image-truncated"
    assert "upload it again" in error.detail


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    content = bytearray(encoded(noise(3)))
    middle = len(content) // 2
    content[middle : middle + 50] = b"\x00" * 50
    assert refusal(bytes(content), tmp_path).kind.code == "image-truncated"


def test_limits_are_kept_to_the_pixel(tmp_path: Path) -> None:
    assert normalised(encoded(plain("red", (250, 250))), tmp_path).size == (250, 250)
    assert normalised(encoded(plain("red", (300, 10))), tmp_path).size == (300, 10)
    many = refusal(encoded(plain("red", (251, 250))), tmp_path)
    assert many.kind.code == "image-too-large"
    assert "251 x 250 = 62750" in many.detail
    assert "62500" in many.detail
    long = refusal(encoded(plain("red", (10, 301))), tmp_path)
    assert (long.kind.code, long.code) == ("image-too-large", "side-too-long")
    assert "300" in long.detail


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that declares a huge picture."""
    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    stream = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    stream.seek(0, io.SEEK_END)
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\x00" * 1000)), (b"IEND", b"")):
        stream.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return stream.getvalue()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [8_000, 10_000, 30_000], ids=["limit", "bomb warning", "bomb error"])
def test_bombs_are_refused_before_they_are_decoded(side: int, tmp_path: Path) -> None:
    error = refusal(bomb(side, side), tmp_path, PictureLimits(pixels=40_000_000, side=16_384))
    assert error.kind.code == "image-too-large"
    assert "pixels" in error.detail


def test_thumbnails_keep_the_shape(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encoded(noise(4, (200, 100)), "JPEG"))
    small = Image.open(io.BytesIO(thumbnail(path, 64)))
    assert (small.format, small.size) == ("WEBP", (64, 32))
