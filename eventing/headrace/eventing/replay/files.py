"""Files as sources: a recording, a batch of CloudEvents, or a folder whose files become events."""

from __future__ import annotations

import hashlib
import mimetypes
from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import orjson

from headrace.errors import ConfigurationError, InvalidEventError
from headrace.eventing.codec.kafka import write_record
from headrace.eventing.event import new_event
from headrace.eventing.log import Partition, Record
from headrace.eventing.publish import DEFAULT_TYPE
from headrace.eventing.replay.parquet import count_rows, dump_rows, load_rows
from headrace.eventing.replay.places.place import Listed
from headrace.eventing.replay.recording import dump_recorded, load_recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.replay.places.place import Place
    from headrace.eventing.replay.source import Source

CHUNK = 1 << 20
"""Bytes that are looked at together where lines are counted."""
FIELDS = ("name", "stem", "suffix", "path", "folder")
"""What an attribute of a folder's files may name in braces: of ``a/b/cat.png``, beneath the folder ``a``, these are
``cat.png``, ``cat``, ``png``, ``b/cat.png`` and ``b``."""


def source_of(place: Place, *, attributes: Mapping[str, str], end: int | None) -> Source:
    """The source that a place is, by what is there.

    Args:
        place: A folder, a ``.json`` file that holds an array of CloudEvents, a ``.parquet`` file, or a file of one
            CloudEvent a line.
        attributes: Of a folder's events.
        end: How many of them; None for all.

    Raises:
        ConfigurationError: there is nothing of that name, or it may not be read.
        UnavailableError: its store does not answer.
    """
    if place.is_folder():
        return Folder(place, attributes, end)
    if not place.version():
        raise ConfigurationError(f"There is no file {place.name}", hint="`headrace record` makes one")
    kinds: dict[str, type[_Single]] = {".json": Batch, ".parquet": Rows}
    return kinds.get(place.suffix, Recording)(place, end)


def dump_as(suffix: str) -> Callable[[Iterable[Record]], Iterable[bytes]]:
    """How records become the content of a file whose name ends so: ``.parquet``, else a line each."""
    return dump_rows if suffix == ".parquet" else lambda records: map(dump_recorded, records)


class _Single:
    """A source of one partition, ``(name, 0)``."""

    def __init__(self, place: Place, end: int | None = None) -> None:
        self._place = place
        self._end = end
        self._partition = Partition(place.name, 0)

    @property
    def partitions(self) -> Sequence[Partition]:
        """The one that it is."""
        return (self._partition,)

    @property
    def empty(self) -> int:
        """None: a file has no gaps."""
        return 0

    def total(self) -> int | None:
        """What the file says of itself; no more than were asked for."""
        found = self._count()
        return found if found is None or self._end is None else min(found, self._end)

    def _count(self) -> int | None:
        return None

    def read(self, starts: Mapping[Partition, int]) -> Iterator[Record]:
        """The records; a line's, an item's or a row's number, from 0, is its offset."""
        first = starts.get(self._partition, 0)
        for record in self._from(first):
            if self._end is not None and record.offset >= self._end:
                return
            yield record

    def _from(self, first: int) -> Iterator[Record]:
        raise NotImplementedError


class Recording(_Single):
    """A file of CloudEvents, one JSON object a line; see :mod:`headrace.eventing.replay.recording`."""

    def _count(self) -> int | None:
        if self._place.name.startswith("s3://"):
            return None  # counting would fetch it all
        with self._place.open() as lines:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: lines.read(CHUNK), b""))

    def _from(self, first: int) -> Iterator[Record]:
        with self._place.open() as lines:
            for number, line in enumerate(lines):
                if number >= first and line.strip():
                    yield load_recorded(line, self._partition, number)


class Batch(_Single):
    """A file of CloudEvents in JSON's batch format; it is read as a whole."""

    def _from(self, first: int) -> Iterator[Record]:
        with self._place.open() as file:
            content = file.read()
        try:
            items = orjson.loads(content)
        except orjson.JSONDecodeError as fault:
            raise ConfigurationError(f"{self._place.name} is no JSON: {fault}") from fault
        if not isinstance(items, list):
            raise ConfigurationError(
                f"{self._place.name} is no array of CloudEvents", hint="one object a line is .jsonl"
            )
        for number in range(first, len(items)):
            yield load_recorded(orjson.dumps(items[number]), self._partition, number)


class Rows(_Single):
    """A Parquet file with a row an event; see :mod:`headrace.eventing.replay.parquet`."""

    def _count(self) -> int | None:
        with self._place.open() as file:
            return count_rows(file, self._place.name)

    def _from(self, first: int) -> Iterator[Record]:
        with self._place.open() as file:
            yield from load_rows(file, self._place.name, self._partition, first)


class Folder(_Single):
    """The files beneath a folder, in the order of their paths; each becomes an event with the file as its data.

    Its id is made of path and content, so the same in every life of a run; names that begin with a dot are left out.

    Args:
        place: The folder.
        attributes: Of every event, with :data:`FIELDS` in braces.
        end: How many files; None for all.

    Raises:
        ConfigurationError: an attribute names a field that there is not.
    """

    def __init__(self, place: Place, attributes: Mapping[str, str], end: int | None = None) -> None:
        super().__init__(place, end)
        self._attributes = {"type": DEFAULT_TYPE, "source": "/headrace/folder", "subject": "{name}", **attributes}
        self._event(Listed("x.y", 0.0), b"")  # a mistake is told before the run begins

    def _count(self) -> int | None:
        return sum(1 for file in self._place.files() if not _is_hidden(file.path))

    def _from(self, first: int) -> Iterator[Record]:
        shown = (file for file in self._place.files() if not _is_hidden(file.path))
        for number, file in enumerate(shown):
            if number >= first:
                yield self._record(number, file)

    def _record(self, number: int, file: Listed) -> Record:
        event = self._event(file, self._place.read(file.path))
        written = write_record(event, self._partition.topic, trace={})
        return Record(self._partition, number, int(file.modified * 1000), written.key, written.value, written.headers)

    def _event(self, file: Listed, data: bytes) -> CloudEvent:
        path = PurePosixPath(file.path)
        fields = dict(zip(FIELDS, (path.name, path.stem, path.suffix[1:], str(path), str(path.parent)), strict=True))
        try:
            told = {name: text.format(**fields) for name, text in self._attributes.items()}
            return new_event(
                {
                    "specversion": "1.0",
                    "id": hashlib.sha256(f"{path}\n".encode() + data).hexdigest()[:32],
                    "time": datetime.fromtimestamp(file.modified, timezone.utc).isoformat(timespec="seconds"),
                    "datacontenttype": mimetypes.guess_type(path.name)[0] or "application/octet-stream",
                    **told,
                },
                data,
            )
        except (KeyError, ValueError, IndexError, InvalidEventError) as fault:
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise ConfigurationError(
                f"The attributes of {file.path} cannot be made: {fault}", hint=f"there is {known}"
            ) from fault


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))
