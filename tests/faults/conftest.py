"""The scenes that the fault suite makes its faults in, and its table of numbers."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headrace.cli.demo_pictures import sample_pictures

from .chain import Chain
from .scene import Scene
from .tally import Batch, Row, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .topics import Topics

EXAMPLE = Path(__file__).parents[2] / "examples" / "pictures" / "headrace.yaml"
ROWS: list[Row] = []
SEED = int(os.environ.get("HEADRACE_SEED", random.randrange(1 << 32)))


@pytest.fixture
def example() -> Path:
    """The picture example's file."""
    return EXAMPLE


@pytest.fixture
def small_pictures() -> list[Path]:
    """Sample pictures under 100 kB: the suite is about faults, not about decoding."""
    return [path for path in sample_pictures() if path.stat().st_size < 100_000]


@pytest.fixture
def seed() -> int:
    """Of every choice at random; HEADRACE_SEED names it, and the table."""
    return SEED


@pytest.fixture
def long() -> bool:
    """Whether this is the long run of ``make faults``."""
    return os.environ.get("HEADRACE_FAULTS") == "long"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One scene for all faults: each must leave it as good as it was."""
    made = Scene(tmp_path_factory.mktemp("faults"))
    with pytest.MonkeyPatch.context() as patched:
        # The scene sets these for its processes; here they are put back.
        patched.setenv("CLOCK", "")
        patched.setenv("PYTHONPATH", "")
        try:
            made.open()
            yield made
        finally:
            made.close()


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """One `headrace up` for all faults of its parts."""
    made = Chain(tmp_path_factory.mktemp("chain"))
    try:
        made.open()
        yield made
    finally:
        made.close()


@pytest.fixture
def settle(scene: Scene) -> Callable[[Batch, float], Row]:
    """Waits until a batch is settled, keeps its numbers for the table, and asserts what must always hold."""
    return _settling(scene)


@pytest.fixture
def settle_chain(chain: Chain) -> Callable[[Batch, float], Row]:
    """The same for the chain."""
    return _settling(chain)


def _settling(topics: Topics) -> Callable[[Batch, float], Row]:
    def settled(batch: Batch, began: float) -> Row:
        row = topics.settled(batch, began)
        ROWS.append(row)
        said = f"seed {SEED}\n" + "\n".join(table([row]))
        assert (row.lost, row.twice, row.disordered, row.lag) == (0, 0, 0, 0), said
        assert row.answered + row.dead == row.events, said
        return row

    return settled


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the numbers."""
    if ROWS:
        terminalreporter.section(f"faults (HEADRACE_SEED={SEED})")
        for line in table(ROWS):
            terminalreporter.line(line)
        ROWS.clear()
