"""Which events of a source are replayed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.errors import InvalidEventError
from headrace.eventing.codec.kafka import read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.eventing.log import Record

_WHOLE = 1 << 64


@dataclass(frozen=True, slots=True)
class Choice:
    """Events that meet every condition; without conditions, all."""

    matches: Callable[[Mapping[str, str]], bool] | None = None
    """A filter of the events' attributes."""
    share: float = 1.0
    """The share of events that is taken, over 0 and up to 1; by the event's source and id, so the same ones in every
    run, and those of a smaller share among those of a larger one."""

    def takes(self, record: Record) -> bool:
        """Whether the record is replayed. One that is no CloudEvent is: it is the run that sets it aside."""
        if self.matches is None and self.share >= 1:
            return True
        try:
            event = read_record(record, namespace="", name="")
        except InvalidEventError:
            return True
        return self._drawn(event.source, event.id) and (self.matches is None or self.matches(event.attributes))

    def _drawn(self, source: str, identifier: str) -> bool:
        if self.share >= 1:
            return True
        digest = hashlib.sha256(f"{len(source)}:{source}{identifier}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.share * _WHOLE
