"""A durable list of small entries: each is there whole after a crash, or not at all."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import orjson

from headrace.local.broker.checksum import crc32c
from headrace.local.broker.disk import AppendFile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Entry = list[Any]
"""One entry: its kind, then its fields, as JSON has them."""
_FRAME = struct.Struct(">II")


class Journal:
    """Append-only; every entry is framed by its length and CRC-32C.

    Args:
        path: The file; made where it is missing.
        flush: Whether each append waits for the disk.
    """

    def __init__(self, path: Path, *, flush: bool) -> None:
        self.file = AppendFile(path, flush=flush)
        """The file, for those who sync it."""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.file.size

    def append(self, entry: Entry) -> None:
        """Write an entry; it is durable when this returns.

        Raises:
            OSError: the disk is full, or fails; the journal is as before.
        """
        self.file.append(_framed(entry))

    def recover(self) -> list[Entry]:
        """Every entry, in order; a torn tail is cut."""
        entries: list[Entry] = []
        data = self.file.read(0, self.file.size)
        position = 0
        while position + _FRAME.size <= len(data):
            length, checksum = _FRAME.unpack_from(data, position)
            body = data[position + _FRAME.size : position + _FRAME.size + length]
            if len(body) < length or crc32c(body) != checksum:
                break
            entries.append(orjson.loads(body))
            position += _FRAME.size + length
        if position < len(data):
            self.file.cut(position, keep=True)
        return entries

    def rewrite(self, entries: Iterable[Entry]) -> None:
        """Put these entries in the place of all others, in one step.

        Raises:
            OSError: the disk is full, or fails; the journal is as before.
        """
        self.file.rewrite(b"".join(map(_framed, entries)))

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def _framed(entry: Entry) -> bytes:
    body = orjson.dumps(entry)
    return _FRAME.pack(len(body), crc32c(body)) + body
