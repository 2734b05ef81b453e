"""Manifests that are wrong in one way each, and the finding that says so; the first lines of each name it."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.manifests.lint.engine import lint
from headrace.manifests.lint.finding import Rule
from headrace.manifests.lint.reading import READING_RULES
from headrace.manifests.lint.rules.table import ALL

BROKEN = Path(__file__).parent / "broken"
FILES = sorted(BROKEN.glob("*.yaml"))


def expected(file: Path) -> set[tuple[str, str]]:
    """Rules and paths that the file's first lines promise."""
    lines = file.read_text(encoding="utf-8").splitlines()
    promises = [line.removeprefix("# expect: ") for line in lines if line.startswith("# expect: ")]
    return {(rule, path) for rule, _, path in (promise.partition(" ") for promise in promises)}


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_the_mistake_is_found_at_its_place_and_nothing_else(file: Path) -> None:
    """One mistake, one finding: its rule, its path, file, line, reason and remedy; no false ones beside it."""
    report = lint([str(file)])
    assert {(each.rule, each.path) for each in report.findings} == expected(file)
    for each in report.findings:
        assert each.file == str(file)
        assert each.line >= 1
        assert each.why
        assert each.remedy


def test_every_rule_has_a_manifest_that_breaks_it() -> None:
    """A rule that no file breaks might find nothing at all."""
    broken = {rule for file in FILES for rule, _ in expected(file)}
    # A ConfigMap over 1 MiB and kinds that no list of Knative has are made in test_rules.
    rest = {"resource/size", "knative/volume"}
    assert {rule.id for rule in ALL} | set(READING_RULES) == broken | rest


def test_the_ids_are_unique_and_errors_are_said_so() -> None:
    """People name a rule in their own exceptions: an id means one rule."""
    ids = [rule.id for rule in ALL]
    assert len(ids) == len(set(ids))
    assert {rule.severity for rule in ALL} == {"error", "warning"}
    assert any(isinstance(rule, Rule) for rule in ALL)
