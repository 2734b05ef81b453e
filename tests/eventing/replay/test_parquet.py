"""Recordings in Parquet: a record comes back to the byte, other people's tables are taken, bad rows are told."""

from __future__ import annotations

import io
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from headrace.errors import ConfigurationError, InvalidEventError
from headrace.eventing.codec.kafka import read_record, write_record
from headrace.eventing.event import new_event
from headrace.eventing.log import Partition, Record
from headrace.eventing.replay import parquet as recordings
from headrace.eventing.replay.parquet import dump_rows, load_rows
from headrace.eventing.replay.recording import dump_recorded, load_recorded, plain

if TYPE_CHECKING:
    from headrace.eventing.event import CloudEvent

HERE = Partition("calls", 3)
THERE = Partition("x.parquet", 0)
TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=10)


def record(number: int, data: bytes | None = b"x", *, key: bytes | None = b"k", **more: str) -> Record:
    """The event of this number as it lay in Kafka, with a header of its own."""
    attributes = {"specversion": "1.0", "id": str(number), "source": "/s", "type": "t", **more}
    written = write_record(new_event(attributes, data), HERE.topic, trace={})
    headers = (*written.headers, ("colour", b"\xff\x00"), ("empty", b""), ("none", None))
    return Record(HERE, number, 1_700_000_000_123 + number, key, written.value, headers)


def through(*records: Record, first: int = 0) -> list[Record]:
    """What a Parquet recording of these gives."""
    return list(load_rows(io.BytesIO(b"".join(dump_rows(records))), "x.parquet", THERE, first))


def of_table(columns: dict[str, Any], first: int = 0) -> list[Record]:
    """What somebody else's table gives."""
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file)
    return list(load_rows(file, "x.parquet", THERE, first))


def event(found: Record) -> CloudEvent:
    """Its event."""
    return plain(read_record(found, namespace="", name=""))


@given(st.one_of(st.none(), st.binary(max_size=40)), st.one_of(st.none(), st.binary(max_size=9)), TEXT)
def test_an_event_comes_back_to_the_byte(data: bytes | None, key: bytes | None, text: str) -> None:
    """Attributes, data, key, timestamp and headers; the same as through a file of lines."""
    was = record(7, data, key=key, subject=text, partitionkey=text, datacontenttype="text/plain")
    (found,) = through(was)
    assert event(found) == event(was)
    assert (found.key, found.timestamp, found.offset) == (key, was.timestamp, 0)
    assert found.headers[-3:] == was.headers[-3:]
    line = load_recorded(dump_recorded(was), THERE, 0)
    assert (line.key, line.value, line.timestamp) == (found.key, found.value, found.timestamp)
    assert sorted(line.headers, key=str) == sorted(found.headers, key=str)


def test_the_columns_are_those_that_are_documented() -> None:
    """Any reader of Parquet finds the event and where it lay."""
    table = parquet.read_table(io.BytesIO(b"".join(dump_rows([record(7, subject="s", colour="red")]))))
    (row,) = table.to_pylist()
    assert row.pop("timestamp") == datetime.fromtimestamp(1_700_000_000.130, timezone.utc)
    assert row.pop("headers")[0] == {"name": "colour", "value": b"\xff\x00"}
    assert len(row.pop("sha256")) == 64
    assert row == {
        "id": "7",
        "source": "/s",
        "type": "t",
        "subject": "s",
        **dict.fromkeys(("time", "datacontenttype", "dataschema", "invalid")),
        "extensions": [("colour", "red")],
        "data": b"x",
        "topic": "calls",
        "partition": 3,
        "offset": 7,
        "key": b"k",
    }


def test_groups_of_rows_bound_what_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group is written when it is large; a reader skips what it has done."""
    monkeypatch.setattr(recordings, "GROUP_BYTES", 100)
    chunks = list(dump_rows(record(number, b"12345678901234567890") for number in range(50)))
    assert len(chunks) == 11
    file = io.BytesIO(b"".join(chunks))
    assert [found.offset for found in load_rows(file, "x", THERE, 47)] == [47, 48, 49]
    assert parquet.ParquetFile(file).metadata.num_row_groups == 10


def test_other_peoples_tables_are_taken() -> None:
    """Columns beyond those that are known are attributes; what is text is data in UTF-8."""
    first, second = of_table(
        {
            "id": ["1", "2"],
            "source": ["/s", "/s"],
            "type": ["t", "t"],
            "data": ["grün", None],
            "partitionkey": ["a", None],
            "weight": [3, 4],
            "good": [True, False],
            "time": [datetime(2026, 1, 31, 10, 15, tzinfo=timezone.utc)] * 2,
        }
    )
    assert (event(first).data, event(second).data) == ("grün".encode(), None)
    assert (first.key, second.key) == (b"a", None)
    assert (
        event(first).attributes.items() >= {"weight": "3", "good": "true", "time": "2026-01-31T10:15:00+00:00"}.items()
    )


def test_rows_that_are_no_events_are_told_and_kept() -> None:
    """No id, changed data, and a record that was no event when it was recorded: refused, the neighbours not."""
    table = parquet.read_table(io.BytesIO(b"".join(dump_rows([record(1), record(2), record(3)]))))
    columns = table.to_pydict()
    columns["data"] = [b"x", b"changed", b"x"]
    columns["id"] = ["1", "2", None]
    was_none = Record(HERE, 1, 0, None, b"half", (("ce_specversion", b"1.0"), ("ce_id", b"2")))
    good, *bad = [*of_table(columns), *through(was_none)]
    assert event(good).id == "1"
    assert [found.value for found in bad] == [b"changed", b"x", b"half"]
    for found in bad:
        with pytest.raises(InvalidEventError):
            event(found)


def test_files_that_are_none_are_told() -> None:
    """No Parquet, or no column that every event needs."""
    with pytest.raises(ConfigurationError, match=r"x\.parquet is no Parquet file"):
        list(load_rows(io.BytesIO(b"PAR1 and nothing"), "x.parquet", THERE, 0))
    with pytest.raises(ConfigurationError, match="no column source, type"):
        of_table({"id": ["1"]})
