"""The CloudEvent, as a value (CloudEvents 1.0.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from headrace.errors import InvalidEventError

if TYPE_CHECKING:
    from collections.abc import Mapping

SPEC_VERSION = "1.0"
UNREAD: Any = object()
"""Stands for the value of data that nobody has read."""
REQUIRED = ("specversion", "id", "source", "type")
_NAME = re.compile(r"[a-z0-9]+\Z")
# Spec section 3: an implementation must cope with 20 characters and ought not to need more.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event: context attributes and, perhaps, data.

    Build one from outside data with :func:`new_event` or a codec: they validate; this constructor does not.
    """

    attributes: Mapping[str, str]
    """Every context attribute by its lower-case name, in the canonical string form of the spec's type system,
    ``specversion`` and ``datacontenttype`` among them."""
    data: bytes | None = field(default=None, repr=False)
    """The data as bytes on the wire; None is an event without data, which differs from empty data."""
    value: Any = field(default=UNREAD, repr=False, compare=False)
    """What the data is in JSON, where that is known already: it was read, or written, by this process. Whoever has it
    need not parse the data, or look whether it is JSON at all."""

    @property
    def id(self) -> str:
        """The ``id`` attribute: unique together with the source."""
        return self.attributes["id"]

    @property
    def source(self) -> str:
        """The ``source`` attribute, a URI reference."""
        return self.attributes["source"]

    @property
    def type(self) -> str:
        """The ``type`` attribute."""
        return self.attributes["type"]

    @property
    def content_type(self) -> str | None:
        """The ``datacontenttype`` attribute, or None where the event names none."""
        return self.attributes.get("datacontenttype")

    def get(self, name: str, default: str = "") -> str:
        """The attribute ``name``, or ``default`` where the event has none."""
        return self.attributes.get(name, default)

    def with_attributes(self, **changes: str) -> CloudEvent:
        """A copy with these attributes set; nothing is validated, so pass values of the program's own only."""
        return CloudEvent(MappingProxyType({**self.attributes, **changes}), self.data, self.value)

    def without(self, *names: str) -> CloudEvent:
        """A copy without these attributes; those that it does not have are no matter."""
        kept = {name: value for name, value in self.attributes.items() if name not in names}
        return CloudEvent(MappingProxyType(kept), self.data, self.value)


def new_event(attributes: Mapping[str, str], data: bytes | None = None, value: Any = UNREAD) -> CloudEvent:
    """A validated event from outside attributes; ``value`` is what the data is in JSON, where that is known.

    Raises:
        InvalidEventError: naming every fault at once: a required attribute missing or empty, another spec version,
            a name outside ``[a-z0-9]``, a control character in a value.
    """
    if not _is_sound(attributes):
        faults = [
            *(f"required attribute '{name}' is missing" for name in REQUIRED if not attributes.get(name)),
            *(fault for name, value in attributes.items() for fault in _attribute_faults(name, value)),
        ]
        if faults:
            raise InvalidEventError("Not a CloudEvent: " + "; ".join(faults))
    return CloudEvent(MappingProxyType(dict(attributes)), data, value)


def _is_sound(attributes: Mapping[str, str]) -> bool:
    """Whether nothing can be wrong with these. False only asks for the closer look: this one is quick."""
    if attributes.get("specversion") != SPEC_VERSION or not all(map(attributes.get, REQUIRED)):
        return False
    return all(map(str.isprintable, attributes.values())) and all(map(_is_name, attributes))


@lru_cache(maxsize=256)
def _is_name(name: str) -> bool:
    return _NAME.match(name) is not None


def _attribute_faults(name: str, value: str) -> list[str]:
    faults = []
    if not _NAME.match(name):
        faults.append(f"attribute name {name!r} has characters outside a-z and 0-9")
    if name == "specversion" and value and value != SPEC_VERSION:
        faults.append(f"specversion {value!r} is not supported, only '1.0' is")
    if _CONTROL.search(value):
        faults.append(f"attribute '{name}' has a control character")
    return faults
