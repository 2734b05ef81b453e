"""Two sets of answers joined by the event that they answer, in bounded memory."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from headrace.eventing.comparison.answers import Answer, Media, read_answer
from headrace.eventing.results import is_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headrace.eventing.event import CloudEvent

BEFORE = "a"
AFTER = "b"
_COLUMNS = "request, data, media, failed, elapsed, trace, finished"
_BATCH = 1000


class Answers:
    """The answers of both sides: in memory while they are few, else in a file that has no name and is gone at the end.

    What is compared may be larger than memory: ten million vectors are.
    """

    def __init__(self) -> None:
        # An empty name is SQLite's temporary database, which goes to the disk where its cache is full.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA synchronous = OFF")
        for side in (BEFORE, AFTER):
            self._database.execute(
                f"CREATE TABLE {side} (request TEXT PRIMARY KEY, data BLOB, media TEXT, failed INTEGER, "
                "elapsed REAL, trace TEXT, finished REAL) WITHOUT ROWID"
            )

    def close(self) -> None:
        """Let go of them."""
        self._database.close()

    def add(self, side: str, events: Iterable[CloudEvent], run: str | None = None) -> None:
        """Add answers; of two to one event the last counts, and what answers nothing is passed over.

        Args:
            side: ``BEFORE`` or ``AFTER``.
            events: The answers.
            run: Only those of this replay; None for all.
        """
        chosen = (e for e in events if e.get("causationid") and (run is None or e.get("hrreplay") == run))
        self._database.execute("BEGIN")
        self._database.executemany(f"INSERT OR REPLACE INTO {side} VALUES (?,?,?,?,?,?,?)", map(_row, chosen))  # noqa: S608  # one of two words
        self._database.execute("COMMIT")

    def pairs(self) -> Iterator[tuple[Answer | None, Answer | None]]:
        """The answers of A and of B to each event, in the order of the events' ids; None where one has none."""
        b_columns = ", ".join(f"b.{name}" for name in _COLUMNS.split(", "))
        joined = f"SELECT a.*, {b_columns} FROM a LEFT JOIN b ON a.request = b.request ORDER BY a.request"  # noqa: S608  # words of ours
        with closing(self._database.execute(joined)) as rows:
            for row in rows:
                yield _answer(row[:7]), _answer(row[7:]) if row[7] is not None else None
        alone = "SELECT b.* FROM b WHERE request NOT IN (SELECT request FROM a) ORDER BY request"
        with closing(self._database.execute(alone)) as rows:
            for row in rows:
                yield None, _answer(row)


def _row(event: CloudEvent) -> tuple[object, ...]:
    answer = read_answer(event)
    media = Media.of(event)
    return (answer.request, event.data or b"", media.value, is_error(event), answer.elapsed, answer.trace,
            answer.finished)  # fmt: skip


def _answer(row: tuple[object, ...]) -> Answer:
    request, data, media, failed, elapsed, trace, finished = row
    assert isinstance(data, bytes)
    return Answer(
        str(request),
        Media(media).read(data),
        bool(failed),
        float(elapsed) if isinstance(elapsed, float) else None,
        str(trace),
        float(finished) if isinstance(finished, float) else None,
    )
