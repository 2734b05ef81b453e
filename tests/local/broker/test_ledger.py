"""The durable state beside the records: what a crash leaves of the journal is a prefix of what happened."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import ConfigurationError
from headrace.local.broker.journal import Journal
from headrace.local.broker.ledger import Committed, Decision, Ledger

pytestmark = pytest.mark.usefixtures("unsynced")
OFFSETS = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 2)),
    st.builds(Committed, st.integers(0, 1 << 40), st.text(max_size=5)),
    min_size=1,
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(entries=st.lists(st.lists(st.text(max_size=9), min_size=1, max_size=3), max_size=8), data=st.data())
def test_a_cut_journal_recovers_its_whole_entries(entries: list[list[Any]], data: st.DataObject) -> None:
    """Cut at any byte, the journal gives the entries that are whole, and takes new ones behind them."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "journal"
        journal = Journal(path, flush=False)
        ends = [0]
        for entry in entries:
            journal.append(entry)
            ends.append(journal.size)
        journal.close()
        cut = data.draw(st.integers(0, ends[-1]))
        with path.open("r+b") as file:
            file.truncate(cut)
        whole = entries[: sum(end <= cut for end in ends) - 1]
        for expected in (whole, [*whole, ["more"]]):
            journal = Journal(path, flush=False)
            assert journal.recover() == expected
            journal.append(["more"])
            journal.close()


@settings(max_examples=40, deadline=None)
@given(commits=st.lists(st.tuples(st.sampled_from(["g", "h"]), OFFSETS), max_size=6))
def test_offsets_and_transactions_survive(commits: list[tuple[str, dict[tuple[str, int], Committed]]]) -> None:
    """After any commits, and with transactions in every state, a second and a third start find the same."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "journal"
        ledger = Ledger(path)
        for group, offsets in commits:
            ledger.commit_offsets(group, offsets)
        for name_ in ("open", "decided", "done"):
            ledger.identify(name_, ledger.new_producer_id(), 3, 1000)
            ledger.add_partitions(name_, [("a", 0), ("b", 1)])
            ledger.add_group(name_, "i")
            ledger.add_offsets(name_, "i", {("a", 0): Committed(len(name_), "m")})
        ledger.decide("decided", Decision(commit=True, epoch=4))
        ledger.decide("done", Decision(commit=False, epoch=3))
        ledger.finish("done")
        for _ in range(2):
            ledger.close()
            again = Ledger(path)
            assert (again.offsets, again.transactions) == (ledger.offsets, ledger.transactions)
            ledger = again
        assert "i" not in ledger.offsets
        ledger.finish("decided")
        assert ledger.offsets["i"] == {("a", 0): Committed(7, "m")}
        assert ledger.transactions["decided"].epoch == 4
        ledger.close()


def test_producer_ids_are_never_given_twice(tmp_path: Path) -> None:
    """Not over restarts either."""
    given_ids: list[int] = []
    for _ in range(4):
        ledger = Ledger(tmp_path / "journal")
        given_ids += [ledger.new_producer_id() for _ in range(1500)]
        ledger.close()
    assert len(set(given_ids)) == len(given_ids)


def test_the_journal_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is rewritten with what still counts, while the broker runs."""
    monkeypatch.setattr("headrace.local.broker.ledger.COMPACT_AT", 10_000)
    ledger = Ledger(tmp_path / "journal")
    for number in range(2_000):
        ledger.commit_offsets("g", {("a", 0): Committed(number)})
    ledger.close()
    assert (tmp_path / "journal").stat().st_size < 20_000
    ledger = Ledger(tmp_path / "journal")
    assert ledger.offsets == {"g": {("a", 0): Committed(1_999)}}
    ledger.close()


def test_an_entry_of_another_version_is_told(tmp_path: Path) -> None:
    """A journal that cannot be understood stops the start, and is not thrown away."""
    journal = Journal(tmp_path / "journal", flush=False)
    journal.append(["unheard-of", 1])
    journal.close()
    with pytest.raises(ConfigurationError, match="journal"):
        Ledger(tmp_path / "journal")
    assert (tmp_path / "journal").stat().st_size > 0


def test_what_was_exchanged_for_a_higher_epoch_survives(tmp_path: Path) -> None:
    """Over a restart, which rewrites the journal, and from the decision on that fences the epoch before (KIP-360)."""
    ledger = Ledger(tmp_path / "journal")
    ledger.identify("given", 1, 4, 1000, (1, 3))
    ledger.identify("fencing", 2, 3, 1000)
    ledger.add_partitions("fencing", [("a", 0)])
    ledger.decide("fencing", Decision(commit=False, epoch=4, former=(2, 3)))
    for _ in range(2):
        ledger.close()
        ledger = Ledger(tmp_path / "journal")
        assert ledger.transactions["given"].former == (1, 3)
        assert ledger.transactions["fencing"].decision == Decision(commit=False, epoch=4, former=(2, 3))
    ledger.finish("fencing")
    assert ledger.transactions["fencing"].former == (2, 3)
    ledger.close()
