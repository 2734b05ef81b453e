"""What holds for all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# A machine that others use as well is slow at times; slowness is no fault of the code under test. The examples are the
# same in every run, so that a change is judged by its own faults: HEADRACE_SEARCH=1 looks for new ones.
settings.register_profile("unhurried", deadline=None, derandomize="HEADRACE_SEARCH" not in os.environ)
settings.load_profile("unhurried")
