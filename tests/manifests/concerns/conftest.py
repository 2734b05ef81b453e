"""The picture example with every concern of production turned on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headrace.manifests.loading import load_apps
from headrace.manifests.options import RenderOptions
from headrace.manifests.parts.prod import PROD
from headrace.manifests.rendering import render
from headrace.manifests.spec import InferenceApp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.manifests.resource import Resource

OPTIONS = RenderOptions(image="registry.example.com/headrace:test")


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
def prod(pictures: Path) -> Callable[..., InferenceApp]:
    """Makes the picture example with the profile ``prod``, its spec changed as asked."""
    document: dict[str, Any] = merged(load_apps(pictures)[0].document(), PROD)
    return lambda **spec: InferenceApp.model_validate(merged(document, {"spec": spec}))


@pytest.fixture(scope="session")
def plain(pictures: Path) -> Callable[..., InferenceApp]:
    """Makes the picture example with only those concerns that are asked for."""
    document: dict[str, Any] = load_apps(pictures)[0].document()
    return lambda **spec: InferenceApp.model_validate(merged(document, {"spec": spec}))


@pytest.fixture(scope="session")
def resources() -> Callable[..., list[Resource]]:
    """Renders an app; with a kind, its resources of that kind alone."""

    def rendered(app: InferenceApp, kind: str | None = None, options: RenderOptions = OPTIONS) -> list[Resource]:
        return [each for each in render(app, options) if kind in (None, each["kind"])]

    return rendered
