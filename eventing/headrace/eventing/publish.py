"""Files as events: what ``headrace publish`` sends."""

from __future__ import annotations

import mimetypes
import uuid
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError, InvalidEventError, PayloadTooLargeError
from headrace.eventing.codec import json_format
from headrace.eventing.event import CloudEvent, new_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEFAULT_TYPE = "dev.headrace.file.v1"
MOST_BYTES = 16 * 1024 * 1024
"""Bytes of one event's data: Headrace's topics take records of 16 MiB; what is larger belongs into an object store,
with its address in the event."""
_ROOM = 64 * 1024
"""Bytes kept for attributes and headers."""


def file_event(path: Path, *, kind: str = DEFAULT_TYPE, source: str, key: str | None = None) -> CloudEvent:
    """One event with the file's bytes as data, its media type by its name, its name as subject and a new id.

    Args:
        path: The file.
        kind: The event's ``type``.
        source: The event's ``source``.
        key: ``partitionkey``: events of one key keep their order.

    Raises:
        ConfigurationError: there is no such file, or it cannot be read.
        PayloadTooLargeError: it is over 16 MiB.
    """
    data = _read(path)
    attributes = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": source,
        "type": kind,
        "subject": path.name,
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": mimetypes.guess_type(path.name)[0] or "application/octet-stream",
    }
    if key is not None:
        attributes["partitionkey"] = key
    return new_event(attributes, data)


def events_of(path: Path) -> Iterator[CloudEvent]:
    """The events of a JSONL file, one structured CloudEvent a line; empty lines are passed over.

    Raises:
        ConfigurationError: there is no such file, it cannot be read, or a line is no CloudEvent: with its number.
    """
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            yield json_format.load_event(line)
        except InvalidEventError as fault:
            raise ConfigurationError(f"{path}, line {number}: {fault}") from fault


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as lines:
            yield from lines
    except OSError as fault:
        raise ConfigurationError(f"Cannot read {path}: {fault.strerror}") from fault


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES - _ROOM:
            raise PayloadTooLargeError(
                f"{path} has {size:,} bytes; an event takes at most {MOST_BYTES - _ROOM:,}",
                hint="put the file into an object store and publish its address",
            )
        return path.read_bytes()
    except OSError as fault:
        raise ConfigurationError(f"Cannot read {path}: {fault.strerror}") from fault
