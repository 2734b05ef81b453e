"""One caller's request while it waits for its run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    import contextvars
    from collections.abc import Hashable

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from headrace.serving.batching.group import Place

Call = tuple[Any, dict[str, str], dict[str, str]]
"""What ``predict`` is called with: payload, headers, and the response headers that it may fill."""


@dataclass(slots=True, eq=False)
class Member:
    """A request in the line. The loop owns it until its run begins, then the model's thread until the run ends."""

    call: Call
    key: Hashable | None
    """Members with equal keys can go together; None for one that must run alone."""
    rows: int
    size: int
    """Bytes of its tensors; 0 where no budget asks."""
    tokens: int
    """Tokens of its longest row; 0 where no budget asks."""
    state_key: str | None
    """Whose state it uses; None for one without."""
    future: asyncio.Future[Any] | Place
    variables: contextvars.Context
    trace: Context
    entered: float
    """When it joined the line, on the monotonic clock."""
    waiting: Span
    answer: Any = None
    fault: Exception | None = None
    """Set by its run, beside ``answer``."""

    @property
    def left(self) -> bool:
        """Whether nobody waits for its answer any more: cancelled, or out of time."""
        return self.future.done()
