#!/usr/bin/env python3
"""Print what the package needs, a line each: ``requirements.py PYPROJECT [EXTRA]...``; the extras alone where named.

So that an image installs its libraries in a layer that a change of our own code leaves as it is. Python 3.11 or later.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tomllib


def main(pyproject: str, *extras: str) -> None:
    """Print the dependencies, or those of the extras."""
    project = tomllib.loads(Path(pyproject).read_text(encoding="utf-8"))["project"]
    wanted = [line for extra in extras for line in project["optional-dependencies"][extra]]
    sys.stdout.write("".join(f"{line}\n" for line in (wanted if extras else project["dependencies"])))


if __name__ == "__main__":
    main(*sys.argv[1:])
