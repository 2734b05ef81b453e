"""The account of a replica: shares add up to its seconds, whatever overlaps, fails, waits or is given up."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.telemetry.usage.account import PATIENCE, Account, Entry, Share
from headrace.telemetry.usage.sharing import shares

if TYPE_CHECKING:
    from collections.abc import Sequence

_SECONDS = st.floats(min_value=0, max_value=30, allow_nan=False)
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["request", "works", "run", "run", "leave", "leave", "settle", "settle", "ready", "give up"]),
        _SECONDS,
        st.integers(min_value=1, max_value=5),
    ),
    max_size=60,
)


@dataclass
class _Scene:
    """A replica that lives through steps; its clock stands where they brought it."""

    account: Account = field(default_factory=lambda: Account(100.0))
    now: float = 100.0
    waiting: list[Entry] = field(default_factory=list)
    working: list[Entry] = field(default_factory=list)
    gone: list[Entry] = field(default_factory=list)
    told: list[Share] = field(default_factory=list)

    def live(self, steps: Sequence[tuple[str, float, int]]) -> None:
        for what, seconds, count in steps:
            began, self.now = self.now, self.now + seconds
            self._step(what, began, count)

    def _step(self, what: str, began: float, count: int) -> None:
        if what in ("request", "works"):
            entry = Entry(self.now, "model", works=what == "works")
            self.account.enter(entry)
            (self.working if what == "works" else self.waiting).append(entry)
        elif what == "ready" and self.account.ready_at is None:
            self.account.ready_at = self.now
        elif what == "run":
            members = [*self.gone[:1], *self.waiting[:count]]
            if members:
                self.account.ran([(entry, count) for entry in members], began, self.now)
        elif what in ("leave", "give up"):
            some = self.working if what == "leave" and self.working else self.waiting
            for entry in some[:count]:
                self.account.leave(entry, self.now, "result")
                self.gone.append(entry)
            del some[:count]
        elif what == "settle":
            self.told += self.account.settle(self.now)


@given(_STEPS)
def test_shares_add_up_to_the_seconds_of_the_replica(steps: list[tuple[str, float, int]]) -> None:
    """All that is told of a replica is its life: nothing twice, nothing left out, nothing below nothing."""
    scene = _Scene()
    scene.live(steps)
    scene.told += scene.account.settle(scene.now, last=True)
    assert sum(share.seconds for share in scene.told) == pytest.approx(scene.now - 100.0, abs=1e-6)
    assert all(min(share.compute, share.cold_start, share.idle) >= 0 for share in scene.told)


@given(_STEPS)
def test_every_request_is_told_once(steps: list[tuple[str, float, int]]) -> None:
    """A request counts once, be it answered, given up while it runs, or under way at the end."""
    scene = _Scene()
    scene.live(steps)
    scene.told += scene.account.settle(scene.now, last=True)
    requests = len(scene.gone) + len(scene.waiting) + len(scene.working)
    assert sum(share.entry.events for share in scene.told if share.entry) == requests


@given(st.lists(st.tuples(_SECONDS, _SECONDS), max_size=12))
def test_overlapping_work_gets_the_seconds_in_which_there_was_any(pieces: list[tuple[float, float]]) -> None:
    """The parts of all pieces are the union of their times, counted by brute force."""
    got = shares(pieces)
    marks = sorted({moment for piece in pieces for moment in piece})
    covered = sum(
        after - before
        for before, after in itertools.pairwise(marks)
        if any(began <= before and after <= ended for began, ended in pieces)
    )
    assert sum(got) == pytest.approx(covered)
    assert all(part <= max(0.0, ended - began) + 1e-9 for part, (began, ended) in zip(got, pieces, strict=True))


def test_a_batch_is_shared_by_rows_and_waiting_by_what_was_computed() -> None:
    """Two requests of one and of three rows: a quarter and three quarters of the run, and of the time around it."""
    account = Account(0.0, ready_at=2.0)
    small, large = Entry(3.0, "m", items=1), Entry(3.5, "m", items=3)
    account.enter(small)
    account.enter(large)
    account.ran([(small, 1), (large, 3)], 4.0, 8.0)
    account.leave(small, 8.0, "result")
    account.leave(large, 8.0, "result")
    one, three = account.settle(10.0)
    assert (one.compute, three.compute) == (1.0, 3.0)
    assert (one.cold_start, three.cold_start) == (0.5, 1.5)
    assert (one.idle, three.idle) == (1.0, 3.0)
    assert (small.queue, large.queue) == (1.0, 0.5)
    assert (small.batch_size, small.batch_share) == (2, 0.25)


def test_time_that_no_event_asked_for_is_nobodys() -> None:
    """A period without a request is told as idle, without a tenant."""
    account = Account(0.0, ready_at=1.0)
    (share,) = account.settle(10.0)
    assert (share.entry, share.cold_start, share.idle) == (None, 1.0, 9.0)


def test_two_requests_under_way_at_once_share_their_seconds() -> None:
    """What is worked on from its coming on divides each second with the others that are."""
    account = Account(0.0, ready_at=0.0)
    first, second = Entry(0.0, "m", works=True), Entry(2.0, "m", works=True)
    account.enter(first)
    account.enter(second)
    account.leave(second, 4.0, "result")
    account.leave(first, 6.0, "result")
    told = {share.entry: share.compute for share in account.settle(6.0)}
    assert told == {first: 5.0, second: 1.0}


def test_a_request_that_waits_holds_the_settlement_back_for_a_minute_at_most() -> None:
    """Until its run is told of, nobody knows whether the replica was busy; memory stays bounded all the same."""
    account = Account(0.0, ready_at=0.0)
    account.enter(Entry(5.0, "m"))
    assert account.settle(30.0) == []
    assert account.settled == 5.0
    account.settle(5.0 + PATIENCE + 20.0)
    assert account.settled == 25.0
