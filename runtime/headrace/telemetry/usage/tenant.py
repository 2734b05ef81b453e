"""Whose event it is: read from an attribute of the event, a header, or an API key, which itself is never told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["attribute", "header", "apiKey"]
ANONYMOUS = "anonymous"
"""The tenant of events that name none."""
LONGEST = 120
"""Characters of a tenant's name that are kept."""
_KEY_DIGITS = 16
_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class TenantRule:
    """Where the tenant's name stands."""

    kind: Kind
    name: str
    """The attribute or the header, in lower case."""

    @classmethod
    def parse(cls, text: str) -> TenantRule:
        """The rule of ``KIND:NAME``, as an environment variable holds it.

        Raises:
            ConfigurationError: it is none.
        """
        kind, _, name = text.partition(":")
        for known in get_args(Kind):
            if kind == known and name:
                return cls(known, name.lower())
        raise ConfigurationError(
            f"{text!r} says no tenant", hint=f"write KIND:NAME, where KIND is one of {', '.join(get_args(Kind))}"
        )

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    def of(self, headers: Mapping[str, str]) -> str:
        """The tenant of a request.

        Args:
            headers: By lower-case name; the attributes of an event stand there as ``ce-NAME``.
        """
        found = headers.get(f"ce-{self.name}" if self.kind == "attribute" else self.name, "").strip()
        if not found:
            return ANONYMOUS
        return _fingerprint(found) if self.kind == "apiKey" else found[:LONGEST]


def _fingerprint(key: str) -> str:
    """A name for a key that does not give it away: the first digits of its SHA-256."""
    bare = key[len(_BEARER) :] if key.lower().startswith(_BEARER) else key
    return f"key-{hashlib.sha256(bare.strip().encode()).hexdigest()[:_KEY_DIGITS]}"
