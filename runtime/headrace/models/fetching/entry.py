"""What a cache knows of one model."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import orjson

from headrace.models.fetching import checksums

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.models.model_uri import ModelUri

_FILE = "entry.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One model as it was when it came."""

    uri: str
    """Without anything secret."""
    path: str
    """The file that is the model; empty where it is the folder."""
    digest: str
    """SHA-256 of the file or of the folder's list, as it is kept: an archive is unpacked."""
    files: tuple[tuple[str, int, int], ...]
    """Path, bytes, and time of change in nanoseconds."""
    fetched: float
    """Seconds since the epoch."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size, _ in self.files)

    def damage(self, place: Path, *, thoroughly: bool) -> str:
        """What differs from what came; empty where nothing does.

        Args:
            place: The folder of the files.
            thoroughly: Read every byte; else sizes and times are compared.
        """
        for name, size, changed in self.files:
            try:
                found = (place / name).stat()
            except OSError:
                return f"{name} is missing"
            if (found.st_size, found.st_mtime_ns) != (size, changed):
                return f"{name} has changed"
        if thoroughly and checksums.digest_of(place / self.path) != self.digest:
            return "the content has changed"
        return ""


def describe(uri: ModelUri, place: Path, path: str) -> Entry:
    """The entry of files that have just come."""
    files = []
    for file in checksums.files_of(place):
        found = file.stat()
        files.append((file.relative_to(place).as_posix(), found.st_size, found.st_mtime_ns))
    return Entry(uri.shown, path, checksums.digest_of(place / path), tuple(files), time.time())


def read_entry(folder: Path) -> Entry | None:
    """The entry of this folder; None where there is none that can be read."""
    try:
        found = orjson.loads((folder / _FILE).read_bytes())
        files = tuple((str(name), int(size), int(changed)) for name, size, changed in found["files"])
        return Entry(found["uri"], found["path"], found["digest"], files, float(found["fetched"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_entry(folder: Path, entry: Entry) -> None:
    """Keep it beside the files."""
    (folder / _FILE).write_bytes(orjson.dumps(asdict(entry)))
