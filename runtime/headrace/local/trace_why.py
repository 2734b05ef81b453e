"""Where the time of an event went: every moment of its trace belongs to the innermost span that was open then. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from headrace.local.span import StoredSpan
    from headrace.local.trace_tree import Branch

COLD = "waiting for a cold start"
TOPIC = "waiting in the topic"
RETRY = "waiting before a retry"
BETWEEN = "between two steps"
_COLD_SPANS = frozenset({"activator wait", "cold start", "start", "import", "load", "warm-up"})
_STEPS = {
    "queue": "in the model's queue",
    "batch": "in the model's run",
    "execute": "in the model's run",
    "preprocess": "in preprocess",
    "postprocess": "in postprocess",
    "predict": "in the model's run",
    "receive": "in the dispatcher",
    "process": "in the dispatcher",
    "publish": "writing to Kafka",
    "replay": "writing to Kafka",
    "POST": "between dispatcher and model",
    "infer": "between transformer and predictor",
}
_PHASES = ("import", "load", "warm-up")
_TOLD = 3
"""Shares that a sentence names."""
_LEAST = 0.03
"""A smaller share is not worth a word."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a part of the time was spent with."""

    what: str
    milliseconds: float
    share: float
    """Of the whole, from 0 to 1."""
    detail: str = ""
    """The phases of a cold start."""


@dataclass(frozen=True, slots=True)
class Why:
    """Where the time went, and how it ended."""

    milliseconds: float
    """From the first span's start to the last one's end."""
    shares: tuple[Share, ...]
    """The largest first; together they are the whole."""
    retries: int
    reason: str
    """Why it failed for good; empty where it did not."""

    def sentence(self) -> str:
        """In words."""
        named = [share for share in self.shares if share.share >= _LEAST][:_TOLD]
        told = [f"{_time(share.milliseconds)} ({share.share:.0%}) {share.what}{share.detail}" for share in named]
        text = f"It took {_time(self.milliseconds)}: {_listed(told)}."
        if self.retries:
            text += f" It was tried {self.retries + 1} times."
        return text + (f" It failed for good: {self.reason}." if self.reason else "")


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of time that somebody claims; the deepest claim wins."""

    begin: int
    end: int
    depth: int
    what: str


def why(branches: Sequence[Branch]) -> Why:
    """Where the time of this trace went.

    Args:
        branches: Its tree, with the spans of other traces that link into it.
    """
    pieces = [piece for branch in branches for piece in _pieces(branch, 0, "")]
    begin, end = min(piece.begin for piece in pieces), max(piece.end for piece in pieces)
    spent = _spent(pieces, begin, end)
    whole = max(1, end - begin)
    spans = list(_spans(branches))
    shares = (
        Share(what, taken / 1e6, taken / whole, _phases(spans) if what == COLD else "")
        for what, taken in spent.most_common()
    )
    retries = sum(event.name == "retry" for span in spans for event in span.events)
    letters = [event for span in spans for event in span.events if event.name == "dead letter"]
    reason = ""
    if letters:
        told = letters[-1].attributes
        reason = ": ".join(str(told[name]) for name in ("headrace.reason", "error.message") if name in told)
    return Why((end - begin) / 1e6, tuple(shares), retries, reason)


def _pieces(branch: Branch, depth: int, above: str) -> Iterator[_Piece]:
    span = branch.span
    what = _what(span, above)
    yield _Piece(span.start_ns, span.end_ns, depth, what)
    for event in span.events:
        wait = int(float(event.attributes.get("headrace.wait_seconds", 0.0)) * 1e9)
        if event.name == "waited for the sink" and wait:
            yield _Piece(event.time_ns - wait, event.time_ns, depth + 1, COLD)
        elif event.name == "retry" and wait:
            yield _Piece(event.time_ns, min(event.time_ns + wait, span.end_ns), depth + 1, RETRY)
    for child in branch.children:
        yield from _pieces(child, depth + 2, what)


def _what(span: StoredSpan, above: str) -> str:
    if span.name in _COLD_SPANS:
        return COLD
    first = span.name.split(" ")[0]
    if first == "process" and span.kind == "internal":
        return BETWEEN  # an event of a batch in the model server
    if first in _STEPS:
        return _STEPS[first]
    # What a user's own span does belongs to the step that it is in.
    return above or f"in {span.name}"


def _spent(pieces: Sequence[_Piece], begin: int, end: int) -> Counter[str]:
    """Nanoseconds by what they were spent with; a moment that nobody claims is before a record was read."""
    opening: dict[int, list[_Piece]] = defaultdict(list)
    closing: dict[int, list[_Piece]] = defaultdict(list)
    for piece in pieces:
        if piece.end > piece.begin:
            opening[piece.begin].append(piece)
            closing[piece.end].append(piece)
    moments = sorted({begin, end, *opening, *closing})
    open_now: list[_Piece] = []
    spent: Counter[str] = Counter()
    for moment, following in pairwise(moments):
        open_now = [piece for piece in open_now if piece.end > moment] + opening[moment]
        deepest = max(open_now, key=lambda piece: (piece.depth, piece.begin), default=None)
        spent[deepest.what if deepest else TOPIC] += following - moment
    return spent


def _phases(spans: Iterable[StoredSpan]) -> str:
    taken: Counter[str] = Counter()
    for span in spans:
        if span.name in _PHASES:
            taken[f"{span.name} of {span.service}"] += span.end_ns - span.start_ns
    told = [f"{name} {_time(spent / 1e6)}" for name, spent in taken.most_common(_TOLD)]
    return f" ({', '.join(told)})" if told else ""


def _spans(branches: Iterable[Branch]) -> Iterator[StoredSpan]:
    for branch in branches:
        yield branch.span
        yield from _spans(branch.children)


def _time(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.2f} s" if milliseconds >= 1000 else f"{milliseconds:.3g} ms"  # noqa: PLR2004  # a second


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "nothing to tell"
