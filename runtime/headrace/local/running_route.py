"""The way from an address to a replica: which revision takes a request, by the percentages of its route."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from headrace.local.rollout import Rollout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.local.clock import Clock
    from headrace.local.resources import Name, Route
    from headrace.local.running_service import RunningService


class RunningRoute:
    """A route at run time.

    Args:
        route: What the manifests say.
        revisions: By their names.
        clock: Paces a roll-out, which begins now.
        address: Its own loopback ``host:port``.
    """

    def __init__(self, route: Route, revisions: Mapping[Name, RunningService], clock: Clock, address: str) -> None:
        self.route = route
        self.address = address
        self._revisions = revisions
        self._clock = clock
        self._began = clock.now()
        # Spreads load; nothing secret.
        self._chance = Random()  # noqa: S311

    def shares(self) -> dict[Name, int]:
        """The per cent of each revision, now."""
        shares: dict[Name, int] = {}
        for share in self.route.shares:
            percent = share.percent
            if share.before is not None:
                percent = Rollout(share.percent, self.route.rollout).newest(self._clock.now() - self._began)
                shares[share.before] = shares.get(share.before, 0) + share.percent - percent
            shares[share.revision] = shares.get(share.revision, 0) + percent
        return {name: percent for name, percent in shares.items() if percent}

    def pick(self) -> RunningService:
        """The revision that takes the next request."""
        shares = self.shares()
        if len(shares) == 1:
            return self._revisions[next(iter(shares))]
        return self._revisions[self._chance.choices(tuple(shares), tuple(shares.values()))[0]]
