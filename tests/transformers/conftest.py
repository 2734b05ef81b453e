"""Pictures of known content."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import skimage

if TYPE_CHECKING:
    from collections.abc import Callable

_SAMPLES = Path(skimage.__file__).parent / "data"


@pytest.fixture
def sample() -> Callable[[str], bytes]:
    """The bytes of a picture that comes with scikit-image."""
    return lambda name: (_SAMPLES / name).read_bytes()
