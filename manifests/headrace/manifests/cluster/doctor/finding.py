"""What the doctor says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from headrace.manifests.cluster.refusals import RefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable


Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question."""

    level: Level
    """A deploy refuses on errors alone; a warning is something that nobody here can be sure of."""
    about: str
    """What was looked at: one word, such as ``kinds``."""
    message: str
    fix: str = ""
    """What to do, as a command where there is one."""

    def to_json(self) -> dict[str, str]:
        """For programs."""
        return asdict(self)


async def allowed_or(about: str, question: Awaitable[list[Finding]]) -> list[Finding]:
    """The findings of a question, or that it may not be asked with these credentials."""
    try:
        return await question
    except RefusedError as refused:
        if refused.reason == "unauthenticated":
            raise
        return [Finding("warning", about, f"cannot be looked at: {refused.message}", refused.hint)]
