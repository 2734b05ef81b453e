"""Where the fault suite finds its pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.cli.demo_pictures import sample_pictures

EXAMPLE = Path(__file__).parents[2] / "examples" / "pictures" / "headrace.yaml"


@pytest.fixture
def example() -> Path:
    """The picture example's file."""
    return EXAMPLE


@pytest.fixture
def small_pictures() -> list[Path]:
    """Sample pictures under 100 kB: the suite is about faults, not about decoding."""
    return [path for path in sample_pictures() if path.stat().st_size < 100_000]
