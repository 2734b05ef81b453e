"""From the bytes of a picture file to the tensor that a network sees."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from headrace.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_PIXELS = 64_000_000
"""Largest picture that is decoded, in pixels: a few kilobytes of PNG can claim to be gigabytes."""
_CROP = 0.875
"""The part of the short side that is kept, as in the evaluation that the weights were published with."""
_MEAN, _SCALE = 127.0, 128.0
_TRANSPARENT = {"LA", "La", "PA", "RGBA", "RGBa"}
_CONVERTIBLE = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}


def tensor_of(data: bytes, side: int, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.float32]:
    """The picture as FP32 [3, side, side]: RGB, its middle square, (value - 127) / 128.

    Raises:
        InvalidInputError: no picture, a damaged one, or one of more than ``max_pixels``.
    """
    square = _middle(decoded(data, side, max_pixels=max_pixels), side)
    pixels = np.asarray(square, dtype=np.float32)
    return np.ascontiguousarray(((pixels - _MEAN) / _SCALE).transpose(2, 0, 1))


def decoded(data: bytes, side: int = 0, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture in RGB, the right way up; transparency shows white.

    Args:
        data: A file in any format that Pillow reads; of an animation the first frame counts.
        side: Where not 0, a JPEG may be decoded at half its size or less, as long as both sides stay twice this.
        max_pixels: Largest width times height.

    Raises:
        InvalidInputError: no picture, a damaged one, or one of more than ``max_pixels``.
    """
    picture = _opened(data, max_pixels)
    try:
        if side:
            picture.draft("RGB", (2 * side, 2 * side))
        picture.load()
    except Exception as fault:
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more on damaged files.
        raise InvalidInputError(f"The picture is damaged: {fault}") from fault
    with contextlib.suppress(Exception):  # damaged EXIF only leaves the picture as it lies
        picture = ImageOps.exif_transpose(picture)
    return _rgb(picture)


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    if not data:
        raise InvalidInputError("The picture is empty")
    try:
        picture = Image.open(io.BytesIO(data))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as fault:
        raise InvalidInputError(
            f"The picture is too large: {fault}; at most {max_pixels} pixels are decoded"
        ) from fault
    except UnidentifiedImageError as fault:
        raise InvalidInputError("The data is no picture of a known format") from fault
    except Exception as fault:
        raise InvalidInputError(f"The picture is damaged: {fault}") from fault
    width, height = picture.size
    if width * height > max_pixels:
        raise InvalidInputError(
            f"The picture is too large: {width} x {height}, at most {max_pixels} pixels are decoded"
        )
    return picture


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    if picture.mode.startswith("I"):
        return _from_16_bit(picture).convert("RGB")
    if picture.mode in _TRANSPARENT or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    if picture.mode not in _CONVERTIBLE:
        raise InvalidInputError(f"The picture has the pixel format {picture.mode!r}, which has no colours")
    return picture.convert("RGB")


def _from_16_bit(picture: Image.Image) -> Image.Image:
    # Pillow's own conversion clips at 255 instead of scaling.
    values: NDArray[Any] = np.asarray(picture)
    return Image.fromarray((values.clip(0, 65535) // 256).astype(np.uint8))


def _middle(picture: Image.Image, side: int) -> Image.Image:
    # One resampling of the middle square: scaling the whole of a 1 x 60000 picture first would fill the memory.
    width, height = picture.size
    kept = _CROP * min(width, height)
    left, top = (width - kept) / 2, (height - kept) / 2
    box = (left, top, left + kept, top + kept)
    return picture.resize((side, side), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
