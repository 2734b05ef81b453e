"""Apps for the tests of the spec and the renderers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headrace.manifests.spec import InferenceApp

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` laid over it, mapping by mapping; None removes a key."""
    result = dict(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            result[key] = merged(base[key], value)
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = value
    return result


@pytest.fixture(scope="session")
def document() -> Callable[..., dict[str, Any]]:
    """Makes the document of a small app, with ``spec`` and ``metadata`` changed as asked."""
    base = {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "InferenceApp",
        "metadata": {"name": "echo"},
        "spec": {"predictor": {"class": "models.echo:Echo"}, "trigger": {"topic": "words"}},
    }
    return lambda **changes: merged(base, changes)


@pytest.fixture(scope="session")
def app_of(document: Callable[..., dict[str, Any]]) -> Callable[..., InferenceApp]:
    """Makes a small app, changed as asked."""
    return lambda **changes: InferenceApp.model_validate(document(**changes))


@pytest.fixture(scope="session")
def pictures() -> Path:
    """The picture example's file."""
    return ROOT / "examples/pictures/headrace.yaml"
