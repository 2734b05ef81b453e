"""One `headrace up` of the picture example for all end-to-end tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headrace.cli.demo_pictures import sample_pictures
from headrace.testing.app import AppRunner, running_app

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parents[2] / "examples" / "pictures" / "headrace.yaml"


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppRunner]:
    """The picture example, up for the whole session."""
    with running_app(EXAMPLE, tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="session")
def pictures() -> dict[str, Path]:
    """The sample pictures by name."""
    return {path.name: path for path in sample_pictures()}
