"""The lines that the twin's processes write: one file a service or workload, each line with its process's name."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from headrace.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

_CHUNK = 1 << 16
LONGEST_LINE = 1 << 16
"""Bytes; a longer line is broken."""


class LogFile:
    """A file that all replicas of one service write to, bounded.

    Args:
        path: The file; begun anew.
        max_bytes: Size at which it becomes ``<name>.1`` and a new one is begun.
        echo: Called with every line.

    Raises:
        UnavailableError: the file cannot be written.
    """

    def __init__(self, path: Path, *, max_bytes: int, echo: Callable[[str], None] | None = None) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._echo = echo
        self._size = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO | None = path.open("wb", buffering=0)
        except OSError as fault:
            raise UnavailableError(f"Cannot write the log {path}: {fault.strerror}") from fault

    def write(self, name: str, line: bytes) -> None:
        """Add a line of the process ``name``. A full disk costs the line, not the process."""
        entry = name.encode() + b" | " + line + b"\n"
        if self._file is not None:
            try:
                self._rotate(len(entry))
                self._file.write(entry)
            except OSError:
                pass
        if self._echo is not None:
            self._echo(entry[:-1].decode(errors="replace"))

    def close(self) -> None:
        """Close the file; lines that still come are only echoed."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _rotate(self, more: int) -> None:
        self._size += more
        if self._size > self._max_bytes and self._file is not None:
            self._file.close()
            self.path.replace(self.path.with_name(self.path.name + ".1"))
            self._file = self.path.open("wb", buffering=0)
            self._size = more


class LineReader:
    """Takes a process's output to its log.

    Args:
        name: Stands before each line.
        log: Where the lines go.
        heard: Called with every line that is not blank.
    """

    def __init__(self, name: str, log: LogFile, heard: Callable[[str], None] | None = None) -> None:
        self.last_line = ""
        """The last line that is not blank."""
        self._name = name
        self._log = log
        self._heard = heard

    async def read(self, pipe: int) -> None:
        """Read the descriptor until every writer is gone, then close it."""
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(pipe, "rb", buffering=0)
        )
        try:
            await self._lines(stream)
        finally:
            transport.close()

    async def _lines(self, stream: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await stream.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._broken(line)
            while len(rest) > LONGEST_LINE:
                self._line(rest[:LONGEST_LINE])
                rest = rest[LONGEST_LINE:]
        if rest:
            self._line(rest)

    def _broken(self, line: bytes) -> None:
        for start in range(0, len(line) or 1, LONGEST_LINE):
            self._line(line[start : start + LONGEST_LINE])

    def _line(self, line: bytes) -> None:
        line = line.rstrip(b"\r")
        self._log.write(self._name, line)
        if text := line.decode(errors="replace").strip():
            self.last_line = text
            if self._heard is not None:
                self._heard(text)
