"""Recordings as Parquet files: a row an event, for tables of millions and for the tools that read tables.

The columns, all of them in what ``headrace record`` writes:

    id, source, type                       string; without them a row is no event
    subject, time, datacontenttype, dataschema
                                           string; null where the event has none
    extensions                             map<string, string>: every other attribute
    data                                   binary; null for an event without data
    topic, partition, offset               string, int32, int64: where the record lay
    timestamp                              timestamp[ms, UTC] of the record; null for none
    key                                    binary; null for none
    headers                                list<struct<name: string, value: binary>>: those that are no attributes
    sha256                                 string: the digest of the data, which a replay checks
    invalid                                string: why the record was no CloudEvent though it claimed to be one

A file from elsewhere needs ``id``, ``source`` and ``type``; of the others it has what it has, and each further column
of strings, numbers or booleans is an extension attribute of its name.
"""

from __future__ import annotations

import base64
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, BinaryIO

from headrace.errors import ConfigurationError, InvalidEventError
from headrace.eventing.event import SPEC_VERSION, new_event
from headrace.eventing.replay.recording import PLACE, dump_headers, load_headers, recorded, refused, restored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.log import Partition, Record

ATTRIBUTES = ("id", "source", "type", "subject", "time", "datacontenttype", "dataschema")
_PLACE_COLUMNS = ("topic", "partition", "offset", "timestamp", "key", "headers", "sha256", "invalid")
GROUP_BYTES = 16 << 20
"""Bytes of data after which a group of rows is written, or read: what is in memory at a time."""
GROUP_ROWS = 10_000
"""Rows after which it is, however small."""


def dump_rows(records: Iterable[Record]) -> Iterator[bytes]:
    """The bytes of a Parquet file with a row for each record, in chunks of a group of rows.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """
    arrow, parquet = _pyarrow()
    schema, sink = _schema(arrow), _Chunks()
    with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for rows in _groups(records):
            writer.write_batch(arrow.RecordBatch.from_pylist(rows, schema))
            yield sink.taken()
    yield sink.taken()


def load_rows(file: BinaryIO, name: str, partition: Partition, first: int) -> Iterator[Record]:
    """The records of a Parquet file from row ``first`` on; a row's number is its offset.

    A row that is no event, or whose data are not those that were recorded, gives a record that is none.

    Raises:
        ConfigurationError: it is no Parquet file, or lacks a column; or pyarrow is not installed.
    """
    table = _opened(file, name)
    columns = set(table.schema_arrow.names)
    if missing := [column for column in ("id", "source", "type") if column not in columns]:
        raise ConfigurationError(
            f"{name} has no column {', '.join(missing)}", hint="docs/replay.md has the columns of a recording"
        )
    number = 0
    for group in range(table.metadata.num_row_groups):
        rows = table.metadata.row_group(group).num_rows
        if number + rows > first:
            yield from _of_group(table, group, number, first, partition)
        number += rows


def count_rows(file: BinaryIO, name: str) -> int:
    """How many rows a Parquet file has.

    Raises:
        ConfigurationError: it is no Parquet file; or pyarrow is not installed.
    """
    return int(_opened(file, name).metadata.num_rows)


def _opened(file: BinaryIO, name: str) -> Any:
    arrow, parquet = _pyarrow()
    try:
        return parquet.ParquetFile(file)
    except arrow.ArrowInvalid as fault:
        raise ConfigurationError(f"{name} is no Parquet file: {fault}") from fault


def _of_group(table: Any, group: int, number: int, first: int, partition: Partition) -> Iterator[Record]:
    known = table.metadata.row_group(group)
    batch = max(1, min(GROUP_ROWS, GROUP_BYTES * known.num_rows // max(1, known.total_byte_size)))
    for part in table.iter_batches(batch, row_groups=[group]):
        for row in part.to_pylist():
            if number >= first:
                yield _record(row, partition, number)
            number += 1


def _record(row: dict[str, Any], partition: Partition, number: int) -> Record:
    data = row.pop("data", None)
    content = data.encode() if isinstance(data, str) else data
    try:
        found = restored(_event(row, content), partition, number)
    except InvalidEventError:
        found = None
    return found or refused(content or b"", partition, number)


def _event(row: dict[str, Any], data: bytes | None) -> CloudEvent:
    known = {name: row.pop(name) for name in _PLACE_COLUMNS if name in row}
    extensions = dict(row.pop("extensions", None) or ())
    told = {name: _text(value) for name, value in row.items() if value is not None}
    return new_event({"specversion": SPEC_VERSION, **extensions, **told, **_as_attributes(known)}, data)


def _as_attributes(known: dict[str, Any]) -> dict[str, str]:
    """The extensions that :mod:`headrace.eventing.replay.recording` knows of these columns."""
    found = {f"hr{name}": str(known[name]) for name in ("topic", "partition", "offset", "sha256", "invalid")
             if known.get(name) is not None}  # fmt: skip
    if known.get("timestamp") is not None:
        found["hrtimestamp"] = str(round(known["timestamp"].timestamp() * 1000))
    if known.get("key") is not None:
        found["hrkey"] = base64.b64encode(known["key"]).decode()
    if known.get("headers"):
        found["hrheaders"] = dump_headers([(one["name"], one["value"]) for one in known["headers"]])
    return found


def _row(record: Record) -> dict[str, Any]:
    event = recorded(record)
    known = {name: value for name, value in event.attributes.items() if name != "specversion"}
    place = {name: known.pop(name) for name in PLACE if name in known}
    return {
        **{name: known.pop(name, None) for name in ATTRIBUTES},
        "extensions": sorted(known.items()),
        "data": event.data,
        "topic": record.partition.topic,
        "partition": record.partition.number,
        "offset": record.offset,
        "timestamp": datetime.fromtimestamp(record.timestamp / 1000, timezone.utc) if record.timestamp >= 0 else None,
        "key": record.key,
        "headers": [{"name": name, "value": value} for name, value in load_headers(place.get("hrheaders", "[]"))],
        "sha256": place["hrsha256"],
        "invalid": place.get("hrinvalid"),
    }


def _groups(records: Iterable[Record]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    size = 0
    for record in records:
        rows.append(_row(record))
        size += len(record.value or b"")
        if size >= GROUP_BYTES or len(rows) >= GROUP_ROWS:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


class _Chunks:
    """What was written since it was last taken; the file that pyarrow writes to."""

    closed = False

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def write(self, chunk: bytes) -> int:
        self._chunks.append(bytes(chunk))
        return len(chunk)

    def flush(self) -> None:
        """There is nothing behind it."""

    def taken(self) -> bytes:
        found, self._chunks = b"".join(self._chunks), []
        return found


def _schema(arrow: Any) -> Any:
    text = arrow.string()
    return arrow.schema(
        [
            *((name, text) for name in ATTRIBUTES),
            ("extensions", arrow.map_(text, text)),
            ("data", arrow.binary()),
            ("topic", text),
            ("partition", arrow.int32()),
            ("offset", arrow.int64()),
            ("timestamp", arrow.timestamp("ms", tz="UTC")),
            ("key", arrow.binary()),
            ("headers", arrow.list_(arrow.struct([("name", text), ("value", arrow.binary())]))),
            ("sha256", text),
            ("invalid", text),
        ]
    )


def _text(value: Any) -> str:
    """CloudEvents' canonical form (spec, Type System)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as arrow  # noqa: ICN001, PLC0415  # a word; an optional package
        from pyarrow import parquet  # noqa: PLC0415  # the same
    except ImportError:
        raise ConfigurationError(
            "Parquet files need pyarrow, which is not installed", hint="python -m pip install 'headrace[parquet]'"
        ) from None
    return arrow, parquet
