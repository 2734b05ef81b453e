"""What a server and the process of one of its models say to each other: tuples, the first member of which says what.

server to model   Work, once; then (CALL, number, method, arguments, trace) | (CANCEL, number) | (STOP, beside)
model to server   (LOADED, Facts) | (FAULT, 0, fault), once; then (ANSWER, number, value) | (FAULT, number, fault)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.serving.settings import BatchLimits, ModelSource, Predictor

CALL, CANCEL, STOP = 0, 1, 2
LOADED, ANSWER, FAULT = 3, 4, 5
STARTING = 0
"""The number that stands for the start in place of a call's."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a model's process is for."""

    source: ModelSource
    batching: BatchLimits
    predictor: Predictor | None
    service: str
    """The server's first model: the name of its spans, unless ``OTEL_SERVICE_NAME`` says another."""
    weight: float = 1.0
    """The part of the replica's seconds that this process is taken to use, where usage is metered."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the server has to know of a model that it does not have itself."""

    explains: bool
    metered: bool
    size: int = 0
    """Bytes that the model takes."""
    remembers: bool = False
    """Whether it has state of its own between requests."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """Stands for an answer that comes in parts; each is asked for, so that none waits in memory for a slow client."""

    number: int
    """Of the call whose answer it is."""


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """Stands for the part after the last one."""
