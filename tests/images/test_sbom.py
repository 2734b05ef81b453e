"""The software bill of materials: every package, where it comes from, what needs it; equal for equal environments."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[2] / "scripts/sbom"


@lru_cache
def printed() -> str:
    """What the script prints for the environment of the tests."""
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def bill() -> dict[str, Any]:
    """The bill, read."""
    found: dict[str, Any] = json.loads(printed())
    return found


def test_every_installed_package_is_in_it() -> None:
    """A package that is missing is one whose faults nobody looks up."""
    named = {each["purl"].partition("@")[0] for each in bill()["components"]} | {"pkg:pypi/headrace"}
    installed = {
        f"pkg:pypi/{each.metadata['Name'].lower().replace('_', '-').replace('.', '-')}" for each in distributions()
    }
    assert named == installed


def test_it_is_cyclonedx_with_the_package_at_its_top() -> None:
    """Scanners read CycloneDX 1.6: format, version, component, references that exist."""
    found = bill()
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert found["serialNumber"].startswith("urn:uuid:")
    top = found["metadata"]["component"]
    assert (top["type"], top["version"]) == ("application", version("headrace"))
    references = {each["bom-ref"] for each in [*found["components"], top]}
    assert {each["ref"] for each in found["dependencies"]} == references
    assert {one for each in found["dependencies"] for one in each["dependsOn"]} <= references
    assert len(references) == len(found["components"]) + 1


def test_it_says_what_needs_what() -> None:
    """A fault in a package leads to what brought it."""
    graph = {each["ref"].partition("@")[0]: each["dependsOn"] for each in bill()["dependencies"]}
    assert any(each.startswith("pkg:pypi/kserve@") for each in graph["pkg:pypi/headrace"])


def test_equal_environments_give_equal_text() -> None:
    """No clock and no chance in it: a changed bill is a changed environment."""
    again = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=True, timeout=60).stdout
    assert again == printed()


def test_licences_are_named_as_the_format_has_them() -> None:
    """An expression, or named licences; never an empty entry."""
    with_licence = [each["licenses"] for each in bill()["components"] if "licenses" in each]
    assert len(with_licence) > 50
    for licences in with_licence:
        assert licences
        assert all(set(each) <= {"expression", "license"} for each in licences)
