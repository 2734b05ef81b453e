"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# A machine that others use as well is slow at times; slowness is no fault of the code under test.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
