"""The conformance cases of CESQL, where they lie beside the repository."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.eventing.filters import FilterError
from headrace.eventing.filters.cesql import compile_expression

CASES = Path(__file__).parents[4] / "shared/conformance/cesql_tck"
EVENT = {"specversion": "1.0", "id": "id", "source": "/source", "type": "type"}


class _Loader(yaml.SafeLoader):
    """Leaves times as text: an event has them so."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def cases() -> list[Any]:
    """Every case with its file and name."""
    found = []
    for path in sorted(CASES.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        # Expressions as they are written: TRUE is one, not a boolean of YAML.
        written = yaml.load(text, Loader=yaml.BaseLoader)["tests"]
        meant = yaml.load(text, Loader=_Loader)["tests"]
        for raw, case in zip(written, meant, strict=True):
            case["expression"] = raw["expression"]
            found.append(pytest.param(case, id=f"{path.stem}: {case['name']}"))
    return found


@pytest.mark.skipif(not CASES.is_dir(), reason="the conformance cases are not here")
def test_every_case_is_here() -> None:
    """All 275, so that none is left out unseen."""
    assert len(cases()) >= 275


@pytest.mark.skipif(not CASES.is_dir(), reason="the conformance cases are not here")
@pytest.mark.parametrize("case", cases())
def test_conformance(case: dict[str, Any]) -> None:
    """Value, its type, and the kind of the error are those of the case."""
    event = case.get("event") or {**EVENT, **case.get("eventOverrides", {})}
    value: str | int | bool = False
    error = "parse"
    with suppress(FilterError):
        found = compile_expression(case["expression"]).evaluate(event)
        value, error = found.value, found.error
    wanted = case.get("result", False)
    assert (value, type(value), error) == (wanted, type(wanted), case.get("error", ""))
