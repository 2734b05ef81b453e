"""What the doors of the server ask of a model, wherever it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from headrace.models.kserve_api import InferResponse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.serving.gathering import Snapshot

Outcome = tuple[Any, dict[str, str]] | Exception
"""The model's answer and the response headers it set; or the fault in its place."""


class Hosted(Protocol):
    """A model that is loaded: in a thread of the server (``hosting``), or in a process (``execution``)."""

    name: str

    @property
    def size(self) -> int:
        """Bytes that the model takes; 0 where nobody has measured."""

    @property
    def remembers(self) -> bool:
        """Whether the model has state of its own between requests, which would be lost with it."""

    @property
    def taken(self) -> int:
        """How many requests the model has taken on and not yet answered."""

    @property
    def metered(self) -> bool:
        """Whether usage is told of."""

    @property
    def explains(self) -> bool:
        """Whether the model has an ``explain`` of its own."""

    async def ready(self) -> bool:
        """Whether the model is there and says that it is healthy."""

    async def types(self) -> tuple[Any, Any]:
        """The model's inputs and outputs, as it describes them."""

    async def infer(self, payload: Any, headers: dict[str, str]) -> tuple[Any, dict[str, str]]:
        """The model's answer and the response headers it set.

        Raises:
            OverloadedError: the model has taken on as many requests as it may.
            Exception: whatever a hook raises.
        """

    async def infer_all(self, calls: Sequence[tuple[Any, dict[str, str]]]) -> list[Outcome]:
        """As :meth:`infer` for many requests of one caller, in order; each one's fault stands in its place."""

    async def explain(self, payload: Any, headers: dict[str, str]) -> tuple[Any, dict[str, str]]:
        """As :meth:`infer`, with ``explain`` instead of ``predict``."""

    async def snapshot(self) -> Snapshot:
        """The numbers of the model's own processes; nothing where it has none."""

    async def stop(self, *, beside: bool = False) -> None:
        """Let the model free what it holds, once.

        Args:
            beside: Whether a run of the model may never end.
        """


_AT_HAND = frozenset({dict, list, str, bytes, InferResponse})
"""Types of answers that are there already, and whole."""


def is_at_hand(answer: Any) -> bool:
    """Whether the answer needs not be looked at more closely: it is neither to be awaited nor in parts."""
    return type(answer) in _AT_HAND


async def whole(outcome: Outcome) -> Outcome:
    """The outcome; one whose answer comes in parts as one: events have their answers whole."""
    if isinstance(outcome, Exception) or is_at_hand(outcome[0]) or not hasattr(outcome[0], "__aiter__"):
        return outcome
    try:
        parts = [part async for part in outcome[0]]
    except Exception as fault:  # noqa: BLE001  # it stands in the place of the answer
        return fault
    return b"".join(part if isinstance(part, bytes) else str(part).encode() for part in parts), outcome[1]
