"""Dead letters on the screen: rows, one letter in full, and objects for programs."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headrace.eventing.deadletters.handled import Mark
    from headrace.eventing.deadletters.handling import Order, Summary
    from headrace.eventing.deadletters.letter import DeadLetter

COLUMNS = ("when", "id", "source", "type", "subject", "reason", "status", "attempts", "at", "handled")
MOST_TEXT = 2000
"""Characters of data that are shown; --output json has all of it."""
MOST_HEX = 256
"""Bytes of data that are shown where they are no text."""
_ROW = 16
MOST_REFUSED = 20
"""Refused letters that are named; the others are counted."""
TRACE_ID = slice(3, 35)
"""Of a ``traceparent`` (W3C Trace Context)."""


def printable(text: str) -> str:
    """The text with what steers a terminal made visible: an event's text is somebody else's."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def row(letter: DeadLetter, mark: Mark | None) -> list[str]:
    """One line of the table."""
    event = letter.event
    return [
        _when(letter),
        event.id,
        event.source,
        event.type,
        event.get("subject"),
        letter.reason,
        letter.status,
        letter.attempts,
        f"{letter.record.partition.topic}/{letter.place}",
        f"{mark.action} {mark.at}" if mark else "",
    ]


def print_table(rows: Iterable[Sequence[str]]) -> None:
    """The table on standard output."""
    from rich.table import Table
    from rich.text import Text

    from headrace.cli.console import wide_console

    table = Table(*COLUMNS, box=None, pad_edge=False)
    for cells in rows:
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in cells))
    wide_console().print(table)


def as_json(letter: DeadLetter, mark: Mark | None) -> dict[str, Any]:
    """What a program gets of a letter in a list."""
    event, record = letter.event, letter.record
    return {
        "when": _when(letter),
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.get("subject"),
        "reason": letter.reason,
        "status": _number(letter.status),
        "attempts": _number(letter.attempts),
        "redrives": letter.redrives,
        "error": letter.error,
        "topic": record.partition.topic,
        "partition": record.partition.number,
        "offset": record.offset,
        "from": {
            "topic": letter.topic,
            "partition": _number(event.get("hrpartition")),
            "offset": _number(event.get("hroffset")),
        },
        "handled": {"action": mark.action, "run": mark.run, "at": mark.at, "to": mark.to} if mark else None,
    }


def as_full_json(letter: DeadLetter, mark: Mark | None) -> dict[str, Any]:
    """What a program gets of one letter: its attributes and its data as well."""
    data = letter.event.data
    shown: dict[str, Any] = {"data_base64": base64.b64encode(data).decode()} if data is not None else {}
    return {**as_json(letter, mark), "attributes": dict(letter.event.attributes), **shown}


def in_full(letter: DeadLetter, mark: Mark | None) -> str:
    """Everything about one letter, for people."""
    attributes = sorted(letter.event.attributes.items())
    width = max(len(name) for name, _ in attributes)
    traceparent = letter.event.get("traceparent")
    known = traceparent[TRACE_ID] if traceparent else letter.event.id
    parts = [
        f"{letter.record.partition.topic}/{letter.place}, written {_when(letter) or 'at a time unknown'}",
        *(f"  {name:<{width}}  {value}" for name, value in attributes if name != "knativeerrordata"),
        *([f"error: {letter.error}"] if letter.error else []),
        _data(letter.event.data),
        f"{mark.action} by run {mark.run} at {mark.at}{f' to {mark.to}' if mark.to else ''}" if mark else "waiting",
        f"its trace: headrace trace {known}",
    ]
    return printable("\n".join(parts))


def summary_json(order: Order, summary: Summary) -> dict[str, Any]:
    """What a program gets of a run."""
    refused = [
        {
            "id": one.letter.event.id,
            "partition": one.letter.place.partition,
            "offset": one.letter.place.offset,
            "why": one.why,
        }
        for one in summary.refused
    ]
    return {
        "run": summary.run,
        "action": order.action,
        "topic": order.letters,
        "dryRun": order.dry_run,
        "scanned": summary.scanned,
        order.action: summary.done,
        "already": summary.already,
        "destinations": dict(summary.destinations),
        "reasons": dict(summary.reasons),
        "refused": refused,
    }


def summary_text(order: Order, summary: Summary) -> str:
    """What a run did, for people."""
    would = "would be " if order.dry_run else ""
    where = "".join(f", {count} to {topic}" for topic, count in summary.destinations.most_common())
    lines = [f"{summary.done} {would}{order.action}{where}  (run {summary.run}, {summary.scanned} looked at)"]
    if summary.already:
        lines.append(f"{summary.already} were handled before")
    for one in summary.refused[:MOST_REFUSED]:
        lines.append(f"not {order.action}: {one.letter.event.id} at {one.letter.place}: {one.why}")  # noqa: PERF401  # reads better than a nested comprehension
    if len(summary.refused) > MOST_REFUSED:
        lines.append(f"and {len(summary.refused) - MOST_REFUSED} more")
    return printable("\n".join(lines))


def _when(letter: DeadLetter) -> str:
    return letter.written.isoformat(timespec="milliseconds").replace("+00:00", "Z") if letter.written else ""


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _data(data: bytes | None) -> str:
    """The data as JSON or text where it is some, else as bytes."""
    if data is None:
        return "no data"
    try:
        text = orjson.dumps(orjson.loads(data), option=orjson.OPT_INDENT_2).decode()
        return f"data, {len(data)} bytes of JSON:\n{_cut(text)}"
    except orjson.JSONDecodeError:
        pass
    try:
        return f"data, {len(data)} bytes of text:\n{_cut(data.decode())}"
    except UnicodeDecodeError:
        return f"data, {len(data)} bytes:\n{_hex(data)}"


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}\n... {len(text) - MOST_TEXT} characters more"


def _hex(data: bytes) -> str:
    shown = data[:MOST_HEX]
    lines = [
        f"  {start:04x}  {shown[start : start + _ROW].hex(' '):<{3 * _ROW}} "
        + "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in shown[start : start + _ROW])  # noqa: PLR2004  # ASCII that can be printed
        for start in range(0, len(shown), _ROW)
    ]
    more = [f"  ... {len(data) - MOST_HEX} bytes more"] if len(data) > MOST_HEX else []
    return "\n".join(lines + more)
