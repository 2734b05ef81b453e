"""What a command tells while it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from headrace.manifests.cluster.reference import Reference

What = Literal["created", "changed", "unchanged", "waiting", "ready", "pruned", "kept", "left", "deleted"]
"""``kept`` is what holds more than Headrace put there, ``left`` what is another's."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to one resource."""

    reference: Reference
    what: What
    detail: str = ""
    """Why, in one line, where that is not plain."""

    def to_json(self) -> dict[str, str]:
        """For programs."""
        at = self.reference
        found = {"kind": at.kind, "namespace": at.namespace, "name": at.name, "what": self.what, "detail": self.detail}
        return {key: value for key, value in found.items() if value}


Report = Callable[[Step], None]
"""Is told each step as it happens."""


def silently(step: Step) -> None:
    """Tells nobody."""
