"""From the bytes of a sound to the samples that a network hears."""

from __future__ import annotations

import io
import wave
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REMEDY = "sox IN -r {rate} -c 1 -b 16 OUT.wav converts it"
_BYTE, _SHORT, _THREE, _LONG = 1, 2, 3, 4


def samples_of(data: bytes, rate: int, content_type: str = "") -> NDArray[np.float32]:
    """The sound as FP32 samples between -1 and 1; several channels become their mean.

    Args:
        data: A WAV file of PCM, 8 to 32 bits a sample; or the bare samples of ``audio/L16`` (RFC 2586: 16 bits, the
            high byte first).
        rate: Samples a second that the network hears. Nothing is resampled: pieces of one call would not join.
        content_type: The data's media type.

    Raises:
        InvalidInputError: no such sound, or one of another rate; says which it has, and what converts it.
    """
    if not data:
        raise InvalidInputError("The sound is empty")
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if kind == "audio/l16":
        return _bare(data, rate, dict(part.split("=", 1) for part in parameters if "=" in part))
    if not data.startswith(b"RIFF"):
        raise InvalidInputError(
            f"The data is no WAV file and its type {kind or 'unknown'!r} is not audio/L16; {_REMEDY.format(rate=rate)}"
        )
    return _wav(data, rate)


def _wav(data: bytes, rate: int) -> NDArray[np.float32]:
    try:
        with wave.open(io.BytesIO(data)) as file:
            channels, width, found = file.getnchannels(), file.getsampwidth(), file.getframerate()
            frames = file.readframes(file.getnframes())
    except (wave.Error, EOFError, ValueError, ZeroDivisionError, OverflowError, MemoryError) as fault:
        raise InvalidInputError(
            f"The WAV file cannot be read: {str(fault) or 'it ends too early'}; {_REMEDY.format(rate=rate)}"
        ) from fault
    _check_rate(found, rate)
    whole = len(frames) - len(frames) % (channels * width)
    return _mono(_values(frames[:whole], width, rate), channels)


def _bare(data: bytes, rate: int, parameters: dict[str, str]) -> NDArray[np.float32]:
    stated, channels = parameters.get("rate", str(rate)), parameters.get("channels", "1")
    if not stated.isdecimal() or not channels.isdecimal() or not int(channels):
        raise InvalidInputError("audio/L16 must read audio/L16;rate=NUMBER;channels=NUMBER")
    _check_rate(int(stated), rate)
    if len(data) % (_SHORT * int(channels)):
        raise InvalidInputError(f"{len(data)} bytes of audio/L16 are no whole samples of {channels} channels")
    return _mono(_scaled(np.frombuffer(data, ">i2"), 32768), int(channels))


def _check_rate(found: int, rate: int) -> None:
    if found != rate:
        raise InvalidInputError(f"The sound has {found} samples a second, not {rate}; {_REMEDY.format(rate=rate)}")


def _values(frames: bytes, width: int, rate: int) -> NDArray[np.float32]:
    if width == _BYTE:
        return _scaled(np.frombuffer(frames, np.uint8).astype(np.int16) - 128, 128)
    if width == _SHORT:
        return _scaled(np.frombuffer(frames, "<i2"), 32768)
    if width == _LONG:
        return _scaled(np.frombuffer(frames, "<i4"), 1 << 31)
    if width == _THREE:
        padded = np.zeros((len(frames) // _THREE, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(frames, np.uint8).reshape(-1, _THREE)
        return _scaled(padded.view("<i4").ravel(), 1 << 31)
    raise InvalidInputError(f"The WAV file has {width} bytes a sample; {_REMEDY.format(rate=rate)}")


def _scaled(values: NDArray[Any], largest: int) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = (values / largest).astype(np.float32)
    return scaled


def _mono(values: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    return values if channels == 1 else values.reshape(-1, channels).mean(axis=1, dtype=np.float32)
