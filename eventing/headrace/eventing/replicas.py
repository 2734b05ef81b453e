"""How many replicas of the receiver are ready, as their answers tell: each answer names the replica that gave it.

No question is asked of Kubernetes, so no token and no rights are needed, and nothing is older than an answer. A
receiver that names no replicas is taken as it is: nothing is known of it (docs/decisions/0015).
"""

from __future__ import annotations

import hashlib
import os
import socket
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.eventing.clock import Clock

HEADER = "headrace-replica"
"""Of an answer to events: a word that is the same for all answers of one replica, and of no other."""
WINDOW = 30.0
"""Seconds after its last answer for which a replica counts as ready."""
PER_REPLICA = 2
"""Times what a replica takes at once: one is worked on, the other is there when it is done, and shows an autoscaler
that counts requests that there is more to do. So a backlog doubles the replicas until there are enough."""


@lru_cache
def own_name() -> str:
    """The word of this process's replica: the same for all its workers; no name of a machine can be read from it."""
    host = os.environ.get("HOSTNAME") or socket.gethostname()  # of a pod, and of a replica of the twin, its own name
    return hashlib.sha256(host.encode()).hexdigest()[:12]


class Replicas:
    """Who has answered of late; owned by one event loop.

    Args:
        takes: Events that one replica takes at once.
        clock: Time.
    """

    def __init__(self, takes: int, clock: Clock) -> None:
        self._takes = takes
        self._clock = clock
        self._answered: dict[str, float] = {}

    def heard(self, headers: Mapping[str, str]) -> None:
        """An answer has come, with these headers by lower-case name."""
        name = headers.get(HEADER)
        if not name:
            return
        now = self._clock.monotonic()
        if name not in self._answered:  # a good moment to let go of those that were, or years of names would be kept
            self._answered = {each: at for each, at in self._answered.items() if at >= now - WINDOW}
        self._answered[name] = now

    @property
    def ready(self) -> int | None:
        """Replicas that are known to be ready; None where the receiver has never named one."""
        if not self._answered:
            return None
        since = self._clock.monotonic() - WINDOW
        return sum(at >= since for at in self._answered.values())

    @property
    def most(self) -> int | None:
        """Events that they may be given together; as for one where none has answered of late. None where unknown."""
        ready = self.ready
        return None if ready is None else PER_REPLICA * self._takes * max(1, ready)
