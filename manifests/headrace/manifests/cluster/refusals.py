"""What a cluster's *no* means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from headrace.errors import HeadraceError

if TYPE_CHECKING:
    from collections.abc import Mapping

Reason = Literal["conflict", "forbidden", "unauthenticated", "invalid", "absent", "gone", "unknown-kind", "refused"]


@dataclass(frozen=True, slots=True, order=True)
class Conflict:
    """A field that another manager owns with another value."""

    manager: str
    field: str

    def __str__(self) -> str:
        return f"{self.field} is {self.manager}'s"


class RefusedError(HeadraceError):
    """The cluster answered and refused.

    Args:
        message: Which resource, and what the cluster said.
        reason: Why, for programs.
        conflicts: The fields of others, where that is the reason.
        hint: What to do about it.
    """

    code = "cluster-refused"

    def __init__(
        self, message: str, *, reason: Reason = "refused", conflicts: tuple[Conflict, ...] = (), hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.conflicts = conflicts


def refusal(status: int, answer: Mapping[str, Any], about: str) -> RefusedError:
    """The error for an HTTP status and the ``Status`` that came with it; ``about`` names the resource."""
    said = " ".join(str(answer.get("message") or f"HTTP {status}").split())[:_LONGEST]
    if status == _CONFLICT:
        return _conflict(answer, about, said)
    reason, hint = _REASONS.get(status, _OTHER)
    return RefusedError(f"{about}: {said}", reason=reason, hint=hint)


_LONGEST = 1000
_CONFLICT = 409
_OTHER: tuple[Reason, str] = ("refused", "")
_REASONS: dict[int, tuple[Reason, str]] = {
    400: ("invalid", ""),
    401: ("unauthenticated", "log in to the cluster again: these credentials are unknown to it, or have expired"),
    403: ("forbidden", "ask an administrator for the right, or use another --context"),
    404: ("absent", ""),
    410: ("gone", ""),
    422: ("invalid", ""),
}


def _conflict(answer: Mapping[str, Any], about: str, said: str) -> RefusedError:
    causes = (answer.get("details") or {}).get("causes") or []
    found = tuple(
        sorted(
            Conflict(_manager(str(each.get("message", ""))), str(each.get("field", "")))
            for each in causes
            if each.get("reason") == "FieldManagerConflict"
        )
    )
    if not found:
        return RefusedError(f"{about}: {said}", reason="refused", hint="somebody else changed it just now: run again")
    fields = ", ".join(map(str, found))
    return RefusedError(
        f"{about}: {fields}",
        reason="conflict",
        conflicts=found,
        hint="let that manager give the field up, say the same in headrace.yaml, or take it with --force-conflicts",
    )


def _manager(message: str) -> str:
    """The name in ``conflict with "NAME" using apps/v1``, or with ``subresource "scale"``."""
    return message.split('"')[1] if message.count('"') > 1 else message
