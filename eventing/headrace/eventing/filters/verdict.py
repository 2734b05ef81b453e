"""What a compiled filter is, and what it says of an event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an event is meant, and why."""

    matches: bool
    reason: str
    """Why, for people: which attribute differs, or what went wrong."""
    error: str = ""
    """The kind of the CESQL error because of which the event is not meant, such as ``missingAttribute`` or ``cast``
    (CESQL section 3.3); empty where the filter simply says yes or no."""


class Filter(Protocol):
    """A compiled filter. It changes nothing, is safe in any thread, and no event makes it raise."""

    def __call__(self, attributes: Mapping[str, str], /) -> bool:
        """Whether the event with these attributes is meant. An error in the evaluation is a no."""

    def explain(self, attributes: Mapping[str, str], /) -> Verdict:
        """The same answer with its reason: slower, for logs and counters of what was left out."""
