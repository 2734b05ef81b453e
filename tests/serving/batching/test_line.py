"""Which of the waiting requests go together."""

from __future__ import annotations

import contextvars
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN

from headrace.serving.batching.line import Line
from headrace.serving.batching.member import Member
from headrace.serving.settings import BatchLimits


class Open:
    """Stands for a future that nobody has settled."""

    def done(self) -> bool:
        """Never."""
        return False


def member(key: Any = "k", rows: int = 1, size: int = 0, tokens: int = 0, state: str | None = None) -> Member:
    future: Any = Open()
    call: Any = (None, {}, {})
    return Member(
        call,
        key,
        rows,
        size,
        tokens,
        state,
        future,
        contextvars.Context(),
        Context(),
        entered=0.0,
        waiting=INVALID_SPAN,
    )


def line_of(limits: BatchLimits, *members: Member) -> Line:
    line = Line(limits)
    for each in members:
        line.join(each)
    return line


def test_a_batch_stays_within_its_bytes() -> None:
    """A member that would break the budget waits for the next batch; one over the budget by itself runs alone."""
    huge, one, two, three = member(size=500), member(size=40), member(size=40), member(size=40)
    line = line_of(BatchLimits(max_bytes=100), huge, one, two, three)
    assert line.take() == [huge]
    assert line.take() == [one, two]
    assert line.take() == [three]


def test_tokens_count_with_their_padding() -> None:
    """Every row of a batch is as long as the longest: two short ones and a long one are three long ones."""
    short, shorter, long = member(tokens=10), member(tokens=5), member(tokens=40)
    line = line_of(BatchLimits(max_tokens=100), short, shorter, long)
    assert line.take() == [short, shorter]
    assert line.take() == [long]


def test_at_most_one_of_a_key_goes_and_none_overtakes() -> None:
    """The second of a key waits for another batch, also where the first had no room in this one."""
    a1, a2, wide_b1, b2, c = (
        member(state="a"),
        member(state="a"),
        member(state="b", rows=3),
        member(state="b"),
        member(state="c"),
    )
    line = line_of(BatchLimits(max_size=3), a1, a2, wide_b1, b2, c)
    assert line.take() == [a1, c]
    assert line.take() == [a2]
    assert line.take() == [wide_b1]
    assert line.take() == [b2]


@pytest.mark.parametrize(
    ("members", "full"),
    [
        ([member(), member()], False),
        ([member(), member(), member()], True),
        ([member(rows=2), member(rows=2)], True),
        ([member(key=None)], True),
        ([member("a"), member("b"), member("c")], False),
    ],
)
def test_full_is_when_nobody_can_join_any_more(members: list[Member], full: bool) -> None:
    """Such a batch can be collated ahead: a later request would not be in it."""
    assert line_of(BatchLimits(max_size=3), *members).full() is full


@given(
    st.lists(
        st.builds(
            member,
            key=st.sampled_from([None, "x", "y"]),
            rows=st.integers(1, 5),
            size=st.integers(0, 50),
            tokens=st.integers(0, 20),
            state=st.sampled_from([None, None, "s", "t"]),
        ),
        max_size=30,
    )
)
def test_everybody_gets_a_turn_in_order(members: list[Member]) -> None:
    """Whatever waits, each goes exactly once, within the limits, and no key's requests change places."""
    limits = BatchLimits(max_size=4, max_bytes=80, max_tokens=30)
    line = line_of(limits, *members)
    gone: list[Member] = []
    while len(line):
        first = line.first
        batch = line.take()
        assert batch[0] is first
        if len(batch) > 1:
            assert len({each.key for each in batch}) == 1
            assert sum(each.rows for each in batch) <= 4
            assert sum(each.size for each in batch) <= 80
            assert sum(each.rows for each in batch) * max(each.tokens for each in batch) <= 30
        states = [each.state_key for each in batch if each.state_key]
        assert len(states) == len(set(states))
        gone += batch
    assert sorted(map(id, gone)) == sorted(map(id, members))
    for state in ("s", "t"):
        assert [each for each in gone if each.state_key == state] == [
            each for each in members if each.state_key == state
        ]
