"""From picture files to tensors."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from headrace.errors import InvalidInputError
from headrace.transformers.pictures import decoded, tensor_of

if TYPE_CHECKING:
    from collections.abc import Callable


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def colour(data: bytes) -> tuple[int, ...]:
    pixel = decoded(data).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return tuple(int(value) for value in pixel)


def test_the_tensor_is_normalised() -> None:
    """[3, side, side], FP32, (value - 127) / 128, red first."""
    tensor = tensor_of(encoded(Image.new("RGB", (300, 200), (255, 127, 0))), 224)
    assert tensor.shape == (3, 224, 224)
    assert tensor.dtype == np.float32
    assert tensor[:, 0, 0].tolist() == [1.0, 0.0, -127 / 128]


def test_the_middle_is_seen(sample: Callable[[str], bytes]) -> None:
    """The central square of 0.875 of the short side, as scaling the short side to 256 and cropping 224 gives."""
    data = sample("coffee.png")
    picture = Image.open(io.BytesIO(data))
    scale = 256 / min(picture.size)
    scaled = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
    left, top = (scaled.width - 224) // 2, (scaled.height - 224) // 2
    wanted = np.asarray(scaled.crop((left, top, left + 224, top + 224)), np.float32)
    seen = tensor_of(data, 224).transpose(1, 2, 0) * 128 + 127
    assert abs(seen - wanted).mean() < 3


@pytest.mark.parametrize(
    ("picture", "wanted"),
    [
        (Image.new("L", (9, 9), 100), (100, 100, 100)),
        (Image.new("1", (9, 9), 1), (255, 255, 255)),
        (Image.new("P", (9, 9), 0), (0, 0, 0)),
        (Image.new("RGBA", (9, 9), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (9, 9), (255, 0, 0, 255)), (255, 0, 0)),
        (Image.new("LA", (9, 9), (0, 0)), (255, 255, 255)),
        (Image.fromarray(np.full((9, 9), 0x8000, np.uint16)), (128, 128, 128)),
    ],
    ids=["grey", "bits", "palette", "transparent", "opaque", "grey-alpha", "16-bit"],
)
def test_every_pixel_format_becomes_rgb(picture: Image.Image, wanted: tuple[int, ...]) -> None:
    """Grey, palettes and 16 bits are scaled to RGB; what is transparent shows white."""
    assert colour(encoded(picture)) == wanted


def test_a_palette_with_transparency_shows_white() -> None:
    """A GIF's transparent colour is white, not whatever the palette says."""
    picture = Image.new("P", (9, 9), 0)
    picture.putpalette([10, 20, 30] * 256)
    assert colour(encoded(picture, "GIF", transparency=0)) == (255, 255, 255)
    assert colour(encoded(picture, "GIF")) == (10, 20, 30)


def test_cmyk_is_converted() -> None:
    """A print JPEG is a picture too."""
    assert colour(encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG")) == (255, 255, 255)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_exif_rotation_is_applied() -> None:
    """A phone's picture is seen the right way up; broken EXIF only leaves it as it lies."""
    picture = Image.new("RGB", (20, 10), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decoded(encoded(picture, "JPEG", exif=exif)).size == (10, 20)
    assert decoded(encoded(picture, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")).size == (20, 10)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_truncated_picture_is_refused(sample: Callable[[str], bytes], kind: str, kept: float) -> None:
    """Half a picture with a grey rest would get a confident, wrong label."""
    whole = encoded(Image.open(io.BytesIO(sample("coffee.png"))), kind)
    with pytest.raises(InvalidInputError, match="damaged"):
        tensor_of(whole[: int(len(whole) * kept)], 224)


def test_a_truncated_progressive_jpeg_is_refused(sample: Callable[[str], bytes]) -> None:
    """Its first scans are a blurred picture of full size: still not the picture."""
    whole = encoded(Image.open(io.BytesIO(sample("coffee.png"))), "JPEG", progressive=True)
    with pytest.raises(InvalidInputError, match="damaged"):
        tensor_of(whole[: len(whole) // 2], 224)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"Just some text.\n", "no picture"),
        (b"\xff\xd8\xff\xe0", "no picture|damaged"),
        (b"\x89PNG\r\n\x1a\n", "no picture|damaged"),
        (claiming(9000, 8000), "9000 x 8000"),
        (claiming(60000, 60000), "too large"),
    ],
    ids=["empty", "text", "jpeg header", "png header", "large", "bomb"],
)
def test_what_is_no_picture(data: bytes, told: str) -> None:
    """Refused by its header, before anything is decoded; the message is short and says why."""
    with pytest.raises(InvalidInputError, match=told) as caught:
        tensor_of(data, 224)
    assert len(str(caught.value)) < 200


def test_the_limit_is_a_setting() -> None:
    """A picture of exactly the limit is decoded, one more pixel is not."""
    data = encoded(Image.new("RGB", (30, 20)))
    assert decoded(data, max_pixels=600).size == (30, 20)
    with pytest.raises(InvalidInputError, match="30 x 20, at most 599"):
        decoded(data, max_pixels=599)


def test_a_line_is_a_picture() -> None:
    """An extreme aspect costs no memory: only the middle is scaled."""
    assert tensor_of(encoded(Image.new("RGB", (1, 60000), (127, 127, 127))), 224).max() == 0


def test_a_large_jpeg_is_decoded_smaller() -> None:
    """A JPEG far above what is needed is decoded at a fraction of its size, and shows the same."""
    data = encoded(Image.new("RGB", (4000, 3000), (200, 100, 50)), "JPEG")
    assert decoded(data, 224).size == (1000, 750)
    assert abs(tensor_of(data, 224)[:, 0, 0] * 128 + 127 - (200, 100, 50)).max() < 3
