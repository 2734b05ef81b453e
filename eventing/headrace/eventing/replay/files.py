"""Files as sources: a recording, a batch of CloudEvents, or a folder whose files become events."""

from __future__ import annotations

import hashlib
import mimetypes
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING

import orjson

from headrace.errors import ConfigurationError, InvalidEventError
from headrace.eventing.codec.kafka import write_record
from headrace.eventing.event import new_event
from headrace.eventing.log import Partition, Record
from headrace.eventing.publish import DEFAULT_TYPE
from headrace.eventing.replay.recording import load_recorded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.replay.source import Source

FIELDS = ("name", "stem", "suffix", "path", "folder")
"""What an attribute of a folder's files may name in braces: of ``a/b/cat.png``, beneath the folder ``a``, these are
``cat.png``, ``cat``, ``png``, ``b/cat.png`` and ``b``."""


def source_of(path: Path, *, attributes: Mapping[str, str], end: int | None) -> Source:
    """The source that a path is, by what is there.

    Args:
        path: A folder, a ``.json`` file that holds an array of CloudEvents, or a file of one CloudEvent a line.
        attributes: Of a folder's events.
        end: How many of them; None for all.

    Raises:
        ConfigurationError: there is nothing of that name.
    """
    if path.is_dir():
        return Folder(path, attributes, end)
    if not path.is_file():
        raise ConfigurationError(f"There is no file {path}", hint="`headrace record` makes one")
    return Batch(path, end) if path.suffix == ".json" else Recording(path, end)


class _Single:
    """A source of one partition, ``(path, 0)``."""

    def __init__(self, path: Path, end: int | None = None) -> None:
        self._path = path
        self._end = end
        self._partition = Partition(str(path), 0)

    @property
    def partitions(self) -> Sequence[Partition]:
        """The one that it is."""
        return (self._partition,)

    def read(self, starts: Mapping[Partition, int]) -> Iterator[Record]:
        """The records; a line's or an item's number, from 0, is its offset."""
        first = starts.get(self._partition, 0)
        with _faults(self._path):
            for number, line in enumerate(islice(self._lines(), self._end)):
                if number >= first and line.strip():
                    yield load_recorded(line, self._partition, number)

    def _lines(self) -> Iterator[bytes]:
        raise NotImplementedError


class Recording(_Single):
    """A file of CloudEvents, one JSON object a line; see :mod:`headrace.eventing.replay.recording`."""

    def _lines(self) -> Iterator[bytes]:
        with self._path.open("rb") as lines:
            yield from lines


class Batch(_Single):
    """A file of CloudEvents in JSON's batch format; it is read as a whole."""

    def _lines(self) -> Iterator[bytes]:
        try:
            items = orjson.loads(self._path.read_bytes())
        except orjson.JSONDecodeError as fault:
            raise ConfigurationError(f"{self._path} is no JSON: {fault}") from fault
        if not isinstance(items, list):
            raise ConfigurationError(f"{self._path} is no array of CloudEvents", hint="one object a line is .jsonl")
        yield from map(orjson.dumps, items)


class Folder(_Single):
    """The files beneath a folder, in the order of their paths; each becomes an event with the file as its data.

    Its id is made of path and content, so the same in every life of a run; names that begin with a dot are left out.

    Args:
        path: The folder.
        attributes: Of every event, with :data:`FIELDS` in braces.
        end: How many files; None for all.

    Raises:
        ConfigurationError: an attribute names a field that there is not.
    """

    def __init__(self, path: Path, attributes: Mapping[str, str], end: int | None = None) -> None:
        super().__init__(path, end)
        self._attributes = {"type": DEFAULT_TYPE, "source": "/headrace/folder", "subject": "{name}", **attributes}
        self._event(path / "x.y", b"", 0.0)  # a mistake is told before the run begins

    def read(self, starts: Mapping[Partition, int]) -> Iterator[Record]:
        """One record a file."""
        first = starts.get(self._partition, 0)
        with _faults(self._path):
            for number, file in enumerate(islice(self._files(), self._end)):
                if number >= first:
                    yield self._record(number, file)

    def _files(self) -> Sequence[Path]:
        found = (file.relative_to(self._path) for file in self._path.rglob("*") if file.is_file())
        return [self._path / file for file in sorted(found) if not any(part.startswith(".") for part in file.parts)]

    def _record(self, number: int, file: Path) -> Record:
        data, changed = file.read_bytes(), file.stat().st_mtime
        written = write_record(self._event(file, data, changed), self._partition.topic, trace={})
        return Record(self._partition, number, int(changed * 1000), written.key, written.value, written.headers)

    def _event(self, file: Path, data: bytes, changed: float) -> CloudEvent:
        path = file.relative_to(self._path)
        fields = dict(zip(FIELDS, (path.name, path.stem, path.suffix[1:], str(path), str(path.parent)), strict=True))
        try:
            told = {name: text.format(**fields) for name, text in self._attributes.items()}
            return new_event(
                {
                    "specversion": "1.0",
                    "id": hashlib.sha256(f"{path}\n".encode() + data).hexdigest()[:32],
                    "time": datetime.fromtimestamp(changed, timezone.utc).isoformat(timespec="seconds"),
                    "datacontenttype": mimetypes.guess_type(path.name)[0] or "application/octet-stream",
                    **told,
                },
                data,
            )
        except (KeyError, ValueError, IndexError, InvalidEventError) as fault:
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise ConfigurationError(
                f"The attributes of {path} cannot be made: {fault}", hint=f"there is {known}"
            ) from fault


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise ConfigurationError(f"Cannot read {fault.filename or path}: {fault.strerror}") from fault
