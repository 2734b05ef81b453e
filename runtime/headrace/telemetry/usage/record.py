"""What is told of usage: the share of a replica that one event had, and the life of a replica."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from headrace.errors import InvalidInputError
from headrace.telemetry.prices import ReplicaSize

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeVar

    from typing_extensions import Self

    T = TypeVar("T")

NOBODY = ""
"""The tenant of time that no event asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Whose seconds these are."""

    namespace: str
    app: str
    component: str
    """``predictor`` or ``transformer``."""
    replica: str
    """Unique among all replicas that ever were."""
    cpu: float = 0.0
    """Cores that the replica holds."""
    memory_bytes: float = 0.0
    gpu: float = 0.0

    @property
    def key(self) -> str:
        """``NAMESPACE/NAME`` of the app."""
        return f"{self.namespace}/{self.app}"

    @property
    def size(self) -> ReplicaSize:
        """What the replica holds."""
        return ReplicaSize(self.cpu, self.memory_bytes, self.gpu)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage(Place):
    """One event's share of a replica; or nobody's, where ``tenant`` is empty and ``event_id`` as well."""

    tenant: str = NOBODY
    model: str
    revision: str
    event_source: str = ""
    event_id: str = ""
    """Of the event; empty for a plain request and for nobody's share."""
    outcome: str = ""
    """``result``, or the code of the error that answered it; empty for nobody's share."""
    events: int = 0
    """1 where the event came in here first; 0 at a predictor behind a transformer, so that events add up."""
    bytes: int = 0
    """Of the event's data, or of the request's body."""
    items: int = 0
    """Rows of the model's input."""
    tokens: int = 0
    """Of models that count them."""
    queue_seconds: float = 0.0
    """Waited for the model, in the replica; no share of its seconds, since others were served meanwhile."""
    batch_size: int = 0
    """Requests in the run of the model that answered it."""
    batch_share: float = 0.0
    """Its part of that run, 0 to 1."""
    compute_seconds: float = 0.0
    """Its part of the replica's busy seconds."""
    cold_start_seconds: float = 0.0
    """Its part of the replica's start."""
    idle_seconds: float = 0.0
    """Its part of the seconds in which the replica waited."""
    replica_seconds: float = 0.0
    """The sum of the three."""
    replica_started: float = 0.0
    """When the replica's process began, in seconds of Unix time."""

    def as_data(self) -> dict[str, Any]:
        """The data of its CloudEvent."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The usage of such data; what a later version has added is passed over.

        Raises:
            InvalidInputError: it is none.
        """
        return _of(cls, data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Life(Place):
    """How long a replica was there, told by who started and ended it."""

    seconds: float
    """From the start of its process to its end."""
    ready_seconds: float = 0.0
    """Until it was ready; 0 where it never was."""

    def as_data(self) -> dict[str, Any]:
        """The data of its CloudEvent."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The life of such data.

        Raises:
            InvalidInputError: it is none.
        """
        return _of(cls, data)


def _of(kind: type[T], data: Mapping[str, Any]) -> T:
    known = {each.name: each.type for each in fields(kind)}  # type: ignore[arg-type]  # both are dataclasses
    given = {name: value for name, value in data.items() if name in known}
    wrong = [name for name, value in given.items() if not _fits(value, known[name])]
    if wrong:
        raise InvalidInputError(f"Usage has no such {', '.join(wrong)}")
    try:
        return kind(**given)
    except TypeError as fault:
        raise InvalidInputError(f"Usage is incomplete: {fault}") from fault


def _fits(value: Any, wanted: Any) -> bool:
    if wanted == "str":
        return isinstance(value, str)
    return isinstance(value, (int, float)) and not isinstance(value, bool)
