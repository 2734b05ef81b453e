"""CRC-32C, in C only: in pure Python it would cost a hundred times the rest of the produce path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    Checksum = Callable[[bytes | bytearray | memoryview], int]

try:
    from crc32c import crc32c as _crc32c
except ImportError:  # told at start by require_checksum, where a user can act on it
    _crc32c = None

crc32c: Checksum = _crc32c


def require_checksum() -> None:
    """Check that the C extension is there.

    Raises:
        ConfigurationError: it is not installed.
    """
    if _crc32c is None:
        raise ConfigurationError(
            "The embedded Kafka broker needs the C extension 'crc32c', which is not installed",
            hint="pip install crc32c",
        )
