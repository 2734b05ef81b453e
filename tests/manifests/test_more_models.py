"""Several models in one predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from headrace.manifests.rendering import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]
DIGEST = "a" * 64


def container(app: InferenceApp) -> dict[str, Any]:
    """The predictor's container."""
    (service,) = [each["spec"] for each in render(app) if each["kind"] == "InferenceService"]
    found: dict[str, Any] = service["predictor"]["containers"][0]
    return found


def test_models_beside_the_first(app_of: MakeApp) -> None:
    """Each is a flag of the server's; the first has a version in paths where another version of it is there."""
    more = [
        {"name": "small", "class": "a.b:C"},
        {"name": "echo", "class": "a.b:C", "model": "s3://b/2", "version": "2"},
    ]
    predictor = {"version": "1", "models": more, "modelMemory": "1Gi"}
    args = container(app_of(spec={"predictor": predictor}))["args"]
    assert args[-4:] == [
        "--model-version=1",
        "--also=small=a.b:C",
        "--also=echo/2=a.b:C@s3://b/2",
        f"--model-memory={1 << 30}",
    ]
    alone = container(app_of(spec={"predictor": {"models": more[:1]}}))["args"]
    assert not [each for each in alone if each.startswith(("--model-version", "--model-memory"))]


@pytest.mark.parametrize(
    ("predictor", "told"),
    [
        ({"models": [{"name": "a", "class": "a:B"}] * 2}, "a is there twice"),
        ({"models": [{"name": "a", "class": "a:B"}, {"name": "a", "class": "a:B", "version": "2"}]}, "one without"),
        ({"models": [{"name": "echo", "class": "a:B"}]}, "echo is the first model"),
        ({"modelMemory": "3Gi"}, "more than the container's memory"),
        ({"model": "s3://b/m?sha256=abc"}, "64 hexadecimal digits"),
    ],
)
def test_what_could_not_be_served_is_refused(app_of: MakeApp, predictor: dict[str, Any], told: str) -> None:
    """Before anything is deployed."""
    with pytest.raises(ValidationError, match=told):
        app_of(spec={"predictor": predictor})


def test_a_checksum_is_looked_at_by_the_server(app_of: MakeApp) -> None:
    """KServe's fetcher and its cache get the URI without it; the server has it whole."""
    cache = {"size": "1Gi", "nodeGroups": ["gpu"]}
    uri = f"https://h/m.bin?signature=1&sha256={DIGEST}"
    app = app_of(spec={"predictor": {"model": uri, "cache": cache}})
    found = container(app)
    assert f"--model={uri}" in found["args"]
    assert {"name": "STORAGE_URI", "value": "https://h/m.bin?signature=1"} in found["env"]
    (kept,) = [each for each in render(app) if each["kind"] == "LocalModelCache"]
    assert kept["spec"]["sourceModelUri"] == "https://h/m.bin?signature=1"
