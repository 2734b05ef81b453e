"""The ledger: out-of-order progress that survives a crash."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.eventing.ledger import WINDOW, Ledger
from headrace.eventing.log import Committed


def test_the_committed_offset_is_contiguous() -> None:
    """An offset is committed only when all before it are done; the rest stands in the metadata."""
    ledger = Ledger()
    for offset in range(10, 15):
        assert ledger.admit(offset)
    ledger.complete({11, 13})
    assert ledger.progress().offset == 10
    ledger.complete({10})
    assert ledger.progress().offset == 12
    assert ledger.progress({12, 14}) == Committed(15, "")


def test_progress_changes_nothing() -> None:
    """Asking what a commit would say is free: the commit may fail."""
    ledger = Ledger()
    ledger.admit(0)
    before = ledger.progress()
    assert ledger.progress({0}).offset == 1
    assert ledger.progress() == before


def test_gaps_of_the_log_do_not_hold_the_offset_back() -> None:
    """Offsets that no record has (transaction markers, compaction) are passed over."""
    ledger = Ledger(Committed(5))
    for offset in (5, 9, 20):
        ledger.admit(offset)
    ledger.complete({5, 9})
    assert ledger.progress().offset == 20


def test_what_is_no_record_at_the_end_is_stepped_over() -> None:
    """A position beyond the last record (markers of transactions) is committed once all before it is done."""
    ledger = Ledger(Committed(5))
    assert ledger.reached(5) is False
    ledger.admit(5)
    assert ledger.reached(8) is False
    assert ledger.progress().offset == 5
    assert ledger.progress({5}) == Committed(8)
    ledger.complete({5})
    assert ledger.reached(8) is False
    assert ledger.reached(9) is True
    assert ledger.progress() == Committed(9)
    assert ledger.admit(9)


def test_a_position_never_goes_back_or_forgets_what_is_done() -> None:
    """An older position changes nothing; a newer one drops what is done before it, and keeps what is done beyond."""
    before = Ledger()
    for offset in range(5):
        before.admit(offset)
    before.complete({1, 3})
    ledger = Ledger(before.progress())  # 0, 2, 4 are open
    assert ledger.reached(3) is True
    assert ledger.progress().offset == 4, "0 and 2 are gone from the log, 1 and 3 were done"
    assert ledger.reached(1) is False
    assert ledger.admit(3) is False
    assert ledger.admit(4)


def test_attempts_survive() -> None:
    """Failed attempts of an unfinished event are known to the next owner, with the time of the first."""
    ledger = Ledger()
    ledger.admit(0)
    ledger.admit(1)
    ledger.failed(1, now=100.0)
    ledger.failed(1, now=200.0)
    heir = Ledger(ledger.progress())
    heir.admit(0)
    heir.admit(1)
    assert (heir.attempts(1).count, heir.attempts(1).first) == (2, 100.0)
    assert heir.attempts(0).count == 0
    heir.complete({1})
    assert Ledger(heir.progress()).admit(1) is False


def test_metadata_of_another_program_is_no_obstacle() -> None:
    """Another consumer's commit metadata is ignored; its offset counts."""
    for text in ("hello", "[1,2]", '{"d":7}', '{"a":[[1]]}', '{"d":"%%"}'):
        ledger = Ledger(Committed(7, text))
        assert ledger.admit(7)


def test_the_window_fits_into_kafkas_metadata() -> None:
    """However the offsets of a full window are done, the metadata stays within Kafka's 4,096 bytes."""
    ledger = Ledger()
    for offset in range(WINDOW):
        ledger.admit(offset)
        if offset % 50 == 0:
            ledger.failed(offset, 1_700_000_000.0)
    assert ledger.full
    ledger.complete({offset for offset in range(1, WINDOW) if offset % 2})
    assert len(ledger.progress().metadata) < 4096


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=80), st.integers(0, 40))
def test_nothing_is_lost_and_nothing_done_twice(steps: list[tuple[int, bool]], start: int) -> None:
    """Any order of completions, with a crash and a new owner anywhere: each offset is done exactly once.

    A step completes one open offset; where its flag is set, the owner dies after the commit and another takes over.
    """
    ledger = Ledger(Committed(start))
    done: list[int] = []
    opened = {offset for offset in range(start, 41) if ledger.admit(offset)}
    for place, crash in steps:
        if opened:
            offset = sorted(opened)[place % len(opened)]
            committed = ledger.progress({offset})
            ledger.complete({offset})
            assert ledger.progress() == committed
            opened.remove(offset)
            done.append(offset)
        if crash:
            ledger = Ledger(ledger.progress())
            opened = {offset for offset in range(ledger.progress().offset, 41) if ledger.admit(offset)}
    assert len(done) == len(set(done))
    assert set(done) | opened == set(range(start, 41))
