"""The spans of the twin's processes, in one SQLite file that other processes may read while it is written.

The twin owns the only writer. Methods block on the disk: on an event loop, call them in a thread.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from headrace.errors import ConfigurationError, StorageFullError, UnavailableError
from headrace.local.span import SpanEvent, SpanLink, StoredSpan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MAX_SPANS = 200_000
"""Spans kept unless told otherwise: about 150 MB, some 20,000 events."""
MAX_BYTES = 512 << 20
"""Bytes of the file, unless told otherwise: spans of others may be larger than ours."""
_SHARE = 10
"""Of spans that are too large together, the oldest tenth goes at a time."""
IDENTIFYING = ("cloudevents.event_id", "messaging.message.id", "headrace.result.id")
"""Attributes by whose values a trace is found; a list of strings (a batch) counts for each of its members."""

_SCHEMA_VERSION = 1
# `seq` grows with arrival, so the oldest spans are the lowest; without AUTOINCREMENT a low number could come again.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS spans (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    trace_id TEXT NOT NULL, span_id TEXT NOT NULL, parent_id TEXT NOT NULL,
    name TEXT NOT NULL, kind TEXT NOT NULL, service TEXT NOT NULL,
    start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,
    attributes BLOB NOT NULL, events BLOB NOT NULL, links BLOB NOT NULL,
    status TEXT NOT NULL, status_message TEXT NOT NULL,
    UNIQUE (trace_id, span_id)
);
CREATE TABLE IF NOT EXISTS identifiers (value TEXT NOT NULL, seq INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS identifiers_value ON identifiers (value);
CREATE INDEX IF NOT EXISTS identifiers_seq ON identifiers (seq);
CREATE TABLE IF NOT EXISTS linked (trace_id TEXT NOT NULL, seq INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS linked_trace ON linked (trace_id);
CREATE INDEX IF NOT EXISTS linked_seq ON linked (seq);
"""
_COLUMNS = (
    "trace_id, span_id, parent_id, name, kind, service, start_ns, end_ns, attributes, events, links, status, "
    "status_message"
)
# The column names are this module's own constant; every value is a parameter.
_INSERT = f"INSERT OR IGNORE INTO spans ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_SPANS_OF = f"SELECT {_COLUMNS} FROM spans WHERE trace_id = ? ORDER BY start_ns, seq"  # noqa: S608
_LINKED_TO = f"""
SELECT {_COLUMNS} FROM spans
WHERE trace_id IN (SELECT s.trace_id FROM linked l JOIN spans s ON s.seq = l.seq WHERE l.trace_id = ?)
  AND trace_id != ?
ORDER BY start_ns, seq
"""  # noqa: S608
_NAMED = f"SELECT {_COLUMNS} FROM spans WHERE name = ? ORDER BY seq DESC LIMIT ?"  # noqa: S608
_SUMMARIES = (
    "SELECT trace_id, MIN(start_ns), MAX(end_ns), SUM(status = 'error') FROM spans "
    "GROUP BY trace_id HAVING MIN(start_ns) >= ? AND SUM(status = 'error') >= ? ORDER BY "
)
_NEWEST = f"{_SUMMARIES} MIN(start_ns) DESC"
_SLOWEST = f"{_SUMMARIES} MAX(end_ns) - MIN(start_ns) DESC"
_PREFIX = re.compile(r"[0-9a-f]{8,32}\Z")


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """One trace in a list."""

    trace_id: str
    start_ns: int
    """Of its first span; Unix time in nanoseconds."""
    end_ns: int
    """Of its last span."""
    failed: bool
    """Whether one of its spans has failed, for good or until a retry."""


class TraceStore:
    """A bounded store of spans; make one with :meth:`create` (the twin) or :meth:`read` (everyone else)."""

    def __init__(
        self, path: Path, database: sqlite3.Connection, *, max_spans: int = MAX_SPANS, max_bytes: int = MAX_BYTES
    ) -> None:
        self.path = path
        self._database = database
        self._max_spans = max_spans
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._count = int(database.execute("SELECT COUNT(*) FROM spans").fetchone()[0])

    @classmethod
    def create(cls, path: Path, *, max_spans: int = MAX_SPANS, max_bytes: int = MAX_BYTES) -> TraceStore:
        """The store at ``path`` for writing; made, with its folder, where there is none.

        Raises:
            ConfigurationError: the file is no trace store, or of another version of Headrace.
            UnavailableError: the file cannot be opened.
        """
        if max_spans < 1:
            raise ConfigurationError(f"Trace store bound {max_spans} is not positive", hint="keep at least one span")
        path.parent.mkdir(parents=True, exist_ok=True)
        with _explained(path):
            database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            try:
                _check_version(path, database, allow_new=True)
                database.execute("PRAGMA journal_mode=WAL")
                # A power cut may cost the last spans, never the file.
                database.execute("PRAGMA synchronous=NORMAL")
                database.executescript(f"{_SCHEMA} PRAGMA user_version={_SCHEMA_VERSION};")
                return cls(path, database, max_spans=max_spans, max_bytes=max_bytes)
            except BaseException:
                database.close()
                raise

    @classmethod
    def read(cls, path: Path) -> TraceStore:
        """The store at ``path`` for reading, while the twin writes or after it went down.

        Raises:
            ConfigurationError: there is no such file, or it is no trace store.
            UnavailableError: the file cannot be opened.
        """
        if not path.is_file():
            raise ConfigurationError(f"No traces at {path}", hint="'headrace up' records them")
        with _explained(path):
            uri = f"{path.absolute().as_uri()}?mode=ro"
            database = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
            try:
                _check_version(path, database, allow_new=False)
                return cls(path, database)
            except BaseException:
                database.close()
                raise

    def add(self, spans: Iterable[StoredSpan]) -> None:
        """Keep these spans, in one transaction; beyond a bound the oldest go. A span already kept is left alone.

        Raises:
            StorageFullError: the disk is full; none of these spans was kept.
            UnavailableError: the file cannot be written.
        """
        with self._lock, _explained(self.path), closing(self._database.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                added = sum(_insert(cursor, span) for span in spans)
                dropped = self._drop_oldest(cursor, self._count + added - self._max_spans)
                dropped += self._shrink(cursor, self._count + added - dropped)
                cursor.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    cursor.execute("ROLLBACK")
                raise
            self._count += added - dropped

    def spans_of(self, trace_id: str) -> tuple[StoredSpan, ...]:
        """The spans of one trace by start; empty where there is no such trace."""
        return self._select(_SPANS_OF, trace_id)

    def linked_to(self, trace_id: str) -> tuple[StoredSpan, ...]:
        """Every span of the other traces that link into this one: the batches that its events went with."""
        return self._select(_LINKED_TO, trace_id, trace_id)

    def find_trace(self, identifier: str) -> str | None:
        """The trace of an event id, a result id, or a trace id (eight hexadecimal digits of it are enough).

        The newest where several traces have that event id; None where none has.

        Raises:
            ConfigurationError: the beginning of a trace id fits several traces.
        """
        with self._lock, _explained(self.path):
            found = self._database.execute(
                "SELECT s.trace_id FROM identifiers i JOIN spans s ON s.seq = i.seq WHERE i.value = ? "
                "ORDER BY i.seq DESC LIMIT 1",
                (identifier,),
            ).fetchone()
            return str(found[0]) if found else self._trace_with_prefix(identifier.lower())

    def newest_traces(self, limit: int = 20) -> tuple[str, ...]:
        """The ids of the traces whose spans came last, the newest first."""
        with self._lock, _explained(self.path):
            rows = self._database.execute(
                "SELECT trace_id FROM spans GROUP BY trace_id ORDER BY MAX(seq) DESC LIMIT ?", (limit,)
            ).fetchall()
        return tuple(str(row[0]) for row in rows)

    def newest_named(self, name: str, limit: int) -> tuple[StoredSpan, ...]:
        """The spans of this name that came last, the newest first."""
        return self._select(_NAMED, name, limit)

    def list_traces(self, *, since_ns: int = 0, failed: bool = False, slowest: bool = False) -> Iterator[TraceSummary]:
        """The traces of events and calls, the newest or the slowest first.

        Args:
            since_ns: Only those that began then or later; Unix time in nanoseconds.
            failed: Only those of which a span has failed.
            slowest: By how long they took, not by when they began.
        """
        query = _SLOWEST if slowest else _NEWEST
        with self._lock, _explained(self.path):
            rows = self._database.execute(query, (since_ns, int(failed))).fetchall()
        return (TraceSummary(str(trace), int(begin), int(end), bool(errors)) for trace, begin, end, errors in rows)

    def close(self) -> None:
        """Close the file; spans added before are safe."""
        with self._lock:
            self._database.close()

    def _select(self, query: str, *values: str | int) -> tuple[StoredSpan, ...]:
        with self._lock, _explained(self.path):
            return tuple(_span(row) for row in self._database.execute(query, values).fetchall())

    def _trace_with_prefix(self, prefix: str) -> str | None:
        if not _PREFIX.match(prefix):
            return None
        rows = self._database.execute(
            # A range, not LIKE: it walks the index.
            "SELECT DISTINCT trace_id FROM spans WHERE trace_id >= ? AND trace_id < ? LIMIT 5",
            (prefix, prefix + "g"),
        ).fetchall()
        if len(rows) > 1:
            fitting = ", ".join(str(row[0]) for row in rows)
            raise ConfigurationError(f"Several traces begin with '{prefix}': {fitting}", hint="give more digits")
        return str(rows[0][0]) if rows else None

    def _shrink(self, cursor: sqlite3.Cursor, count: int) -> int:
        """Drop the oldest spans until the others have room; SQLite uses the pages again that they leave."""
        dropped = 0
        while count > dropped and _bytes_used(cursor) > self._max_bytes:
            dropped += self._drop_oldest(cursor, max(1, (count - dropped) // _SHARE))
        return dropped

    @staticmethod
    def _drop_oldest(cursor: sqlite3.Cursor, surplus: int) -> int:
        if surplus <= 0:
            return 0
        last = cursor.execute("SELECT seq FROM spans ORDER BY seq LIMIT 1 OFFSET ?", (surplus - 1,)).fetchone()[0]
        cursor.execute("DELETE FROM identifiers WHERE seq <= ?", (last,))
        cursor.execute("DELETE FROM linked WHERE seq <= ?", (last,))
        return cursor.execute("DELETE FROM spans WHERE seq <= ?", (last,)).rowcount


def _insert(cursor: sqlite3.Cursor, span: StoredSpan) -> int:
    cursor.execute(
        _INSERT,
        (
            *(span.trace_id, span.span_id, span.parent_id, span.name, span.kind, span.service),
            *(span.start_ns, span.end_ns, orjson.dumps(span.attributes)),
            orjson.dumps([(event.name, event.time_ns, event.attributes) for event in span.events]),
            orjson.dumps([(link.trace_id, link.span_id, link.attributes) for link in span.links]),
            *(span.status, span.status_message),
        ),
    )
    if not cursor.rowcount:
        return 0
    seq = cursor.lastrowid
    cursor.executemany("INSERT INTO identifiers VALUES (?, ?)", [(value, seq) for value in _identifiers(span)])
    cursor.executemany("INSERT INTO linked VALUES (?, ?)", [(trace, seq) for trace in _linked_traces(span)])
    return 1


def _bytes_used(cursor: sqlite3.Cursor) -> int:
    pages, free, size = (
        int(cursor.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _identifiers(span: StoredSpan) -> set[str]:
    values = (span.attributes.get(name) for name in IDENTIFYING)
    return {str(one) for value in values if value for one in (value if isinstance(value, list | tuple) else [value])}


def _linked_traces(span: StoredSpan) -> set[str]:
    return {link.trace_id for link in span.links if link.trace_id != span.trace_id}


def _span(row: tuple[Any, ...]) -> StoredSpan:
    trace_id, span_id, parent_id, name, kind, service, start, end, attributes, events, links, status, message = row
    return StoredSpan(
        *(trace_id, span_id, parent_id, name, kind, service, start, end),
        attributes=orjson.loads(attributes),
        events=tuple(SpanEvent(*event) for event in orjson.loads(events)),
        links=tuple(SpanLink(*link) for link in orjson.loads(links)),
        status=status,
        status_message=message,
    )


def _check_version(path: Path, database: sqlite3.Connection, *, allow_new: bool) -> None:
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    empty = not database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    if version == _SCHEMA_VERSION or (allow_new and empty):
        return
    raise ConfigurationError(
        f"{path} is no trace store of this Headrace (version {version}, not {_SCHEMA_VERSION})",
        hint="delete the file: traces are recorded anew",
    )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into the family's, with the file's name."""
    try:
        yield
    except sqlite3.OperationalError as fault:
        if "full" in str(fault):
            raise StorageFullError(f"No room for traces at {path}: {fault}", hint="free some disk") from fault
        raise UnavailableError(f"Trace store {path} does not answer: {fault}") from fault
    except sqlite3.ProgrammingError as fault:
        raise UnavailableError(f"Trace store {path} is closed") from fault
    except sqlite3.DatabaseError as fault:
        raise ConfigurationError(
            f"{path} is not a readable trace store: {fault}", hint="delete the file: traces are recorded anew"
        ) from fault
