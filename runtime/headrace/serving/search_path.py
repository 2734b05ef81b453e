"""The order in which modules are looked for."""

from __future__ import annotations

import sys
from pathlib import Path


def search_last(folder: Path) -> None:
    """Let modules of ``folder`` be found, after all installed ones: ``python -m`` puts the working folder first."""
    here = {str(folder), *([""] if folder == Path.cwd() else [])}
    sys.path[:] = [*(entry for entry in sys.path if entry not in here), str(folder)]
