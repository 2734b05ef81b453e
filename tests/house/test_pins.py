"""Every direct dependency is pinned, so that set-up gives everybody what the tests have seen."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def project(root: Path) -> dict[str, Any]:
    """The parsed pyproject.toml."""
    # tomllib came with 3.11; on 3.10 hatchling and pytest bring its forerunner.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    parsed: dict[str, Any] = toml.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return parsed


def direct(parsed: dict[str, Any]) -> Iterator[Requirement]:
    """Everything that pyproject.toml names itself: to run, with an extra, to test, to check."""
    lists = [
        parsed["project"]["dependencies"],
        *parsed["project"]["optional-dependencies"].values(),
        *parsed["dependency-groups"].values(),
    ]
    for text in (text for texts in lists for text in texts):
        requirement = Requirement(text)
        if canonicalize_name(requirement.name) != parsed["project"]["name"]:
            yield requirement


def pins(root: Path) -> list[Requirement]:
    """The lines of constraints.txt."""
    lines = (line.partition("#")[0].strip() for line in (root / "constraints.txt").read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def holds(requirement: Requirement, python: str) -> bool:
    """Whether the requirement counts for this Python on Linux."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    return requirement.marker is None or requirement.marker.evaluate(environment)


def test_every_line_of_the_constraints_is_a_pin(root: Path) -> None:
    """One version exactly; for one Python never two."""
    found = pins(root)
    assert not [str(pin) for pin in found if [s.operator for s in pin.specifier] != ["=="] or "*" in str(pin.specifier)]
    for python in PYTHONS:
        names = [canonicalize_name(pin.name) for pin in found if holds(pin, python)]
        assert sorted(names) == sorted(set(names)), python


def test_every_direct_dependency_is_pinned_within_its_range(root: Path) -> None:
    """For each supported Python the pin is there, and is one that pyproject.toml allows."""
    found = pins(root)
    missing = []
    for requirement in direct(project(root)):
        for python in PYTHONS:
            if not holds(requirement, python):
                continue
            pinned = [
                next(iter(pin.specifier)).version
                for pin in found
                if canonicalize_name(pin.name) == canonicalize_name(requirement.name) and holds(pin, python)
            ]
            if not [version for version in pinned if requirement.specifier.contains(version, prereleases=True)]:
                missing.append((str(requirement), python, pinned))
    assert not missing
