"""Record batches, format 2 (Kafka protocol, "Record Batch"): the 61-byte header, and the end markers of transactions.

Nothing here looks at single records but :func:`records_of`, which only searches by time use; see ``entries``.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.local.broker.checksum import crc32c
from headrace.local.broker.codes import Code, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER = struct.Struct(">qiibIhiqqqhii")
_PLACE = struct.Struct(">qii")
HEADER_SIZE = _HEADER.size
PREFIX_SIZE = 12
"""Bytes before the part that the length field counts: base offset and the length itself."""
CHECKED_FROM = 21
"""The checksum covers everything from the attributes on, so that the broker may set offset and leader epoch."""
TRANSACTIONAL = 0x10
CONTROL = 0x20
HORIZON = 0x40
"""The first timestamp is the time from which the batch's tombstones may go (KIP-534): only compaction sets it."""
_CODEC = 0x07
_MAGIC = 2
_SMALLEST_LENGTH = HEADER_SIZE - PREFIX_SIZE
_ABORT, _COMMIT = 0, 1


class Header(NamedTuple):
    """The header of a record batch."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    checksum: int
    attributes: int
    last_offset_delta: int
    first_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records: int

    @property
    def size(self) -> int:
        """Bytes of the whole batch."""
        return self.length + PREFIX_SIZE

    @property
    def last_offset(self) -> int:
        """Offset of the last record that it was sent with."""
        return self.base_offset + self.last_offset_delta

    @property
    def is_control(self) -> bool:
        """Whether the batch is an end marker of a transaction and holds no user record."""
        return bool(self.attributes & CONTROL)

    @property
    def is_transactional(self) -> bool:
        """Whether the batch belongs to a transaction."""
        return bool(self.attributes & TRANSACTIONAL)

    @property
    def codec(self) -> int:
        """How the records are compressed, 0 is not at all."""
        return self.attributes & _CODEC

    @property
    def horizon(self) -> int | None:
        """Time in milliseconds from which its tombstones may go; None before the first compaction."""
        return self.first_timestamp if self.attributes & HORIZON else None

    @property
    def is_sound(self) -> bool:
        """Whether length, magic and counts can be those of a batch."""
        return self.magic == _MAGIC and self.length >= _SMALLEST_LENGTH and self.last_offset_delta >= 0


def read_header(data: bytes | bytearray | memoryview, position: int = 0) -> Header:
    """The header at ``position``; nothing is checked but that there are 61 bytes (``struct.error``)."""
    return Header._make(_HEADER.unpack_from(data, position))


def is_intact(batch: bytes | memoryview, header: Header) -> bool:
    """Whether the checksum of ``batch`` is right."""
    return crc32c(memoryview(batch)[CHECKED_FROM : header.size]) == header.checksum


def accept(records: memoryview, limit: int) -> Header:
    """The header of the one batch that a producer sent.

    Args:
        records: The ``records`` field of a Produce request.
        limit: Most bytes of a batch.

    Raises:
        Refusal: torn, corrupt, of the old format, over the limit, several batches, or a forged marker.
    """
    if len(records) < HEADER_SIZE:
        raise Refusal(Code.CORRUPT_MESSAGE, f"A record batch has at least {HEADER_SIZE} bytes, not {len(records)}")
    header = read_header(records)
    if header.magic != _MAGIC:
        raise Refusal(Code.UNSUPPORTED_FOR_MESSAGE_FORMAT, f"Record format {header.magic} is not supported, only 2 is")
    if not header.is_sound or header.size > len(records):
        raise Refusal(Code.CORRUPT_MESSAGE, "The lengths in the header of the record batch are wrong")
    if header.size != len(records):
        raise Refusal(Code.INVALID_RECORD, "Send one record batch a partition and request")
    if header.size > limit:
        raise Refusal(Code.MESSAGE_TOO_LARGE, f"The record batch has {header.size} bytes, max.message.bytes is {limit}")
    if header.attributes & (CONTROL | HORIZON) or header.records != header.last_offset_delta + 1:
        raise Refusal(Code.INVALID_RECORD, "Producers send record batches without gaps, and no control batches")
    if not is_intact(records, header):
        raise Refusal(Code.CORRUPT_MESSAGE, "The checksum of the record batch is wrong")
    return header


def place(batch: bytearray, header: Header, base_offset: int) -> None:
    """Write the offset that the log gives into the batch; the leader epoch is always 0 here."""
    _PLACE.pack_into(batch, 0, base_offset, header.length, 0)


def marker(producer_id: int, epoch: int, *, commit: bool) -> bytearray:
    """The control batch that ends a transaction in one partition (Kafka protocol, "Control Batch")."""
    key = struct.pack(">hh", 0, _COMMIT if commit else _ABORT)
    value = struct.pack(">hi", 0, 0)
    # Varints are zigzag: a length n below 64 is the byte 2n. Attributes, timestamp delta and offset delta are 0.
    body = b"\0\0\0" + bytes((len(key) * 2,)) + key + bytes((len(value) * 2,)) + value + b"\0"
    record = bytes((len(body) * 2,)) + body
    now = time.time_ns() // 1_000_000
    checked = struct.pack(">hiqqqhii", CONTROL | TRANSACTIONAL, 0, now, now, producer_id, epoch, -1, 1) + record
    head = struct.pack(">qiibI", 0, len(checked) + 9, 0, _MAGIC, crc32c(checked))
    return bytearray(head + checked)


def is_commit(batch: bytes) -> bool:
    """Whether a control batch commits; it aborts otherwise."""
    # Length, attributes and two deltas are varints of one byte in a control record as this broker writes it; the key
    # is version and type.
    return bool(struct.unpack_from(">h", batch, HEADER_SIZE + 7)[0] == _COMMIT)


def records_of(batch: bytes) -> Iterator[Any]:
    """Every record of a batch, decompressed: slow, for searches by time alone."""
    from kafka.record import MemoryRecords  # noqa: PLC0415 - a start without such a search need not load it

    parsed = MemoryRecords(batch)
    while parsed.has_next():
        yield from parsed.next_batch()
