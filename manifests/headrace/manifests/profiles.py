"""Profiles: what is different of an app on a laptop's cluster, on GPU nodes, in production.

A profile is a mapping laid over the app's document, mapping by mapping: a value replaces, null removes. First what
Headrace has built in, then what the file says under ``profiles``. The outcome is an app like any other, checked by
the same rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from headrace.errors import ConfigurationError
from headrace.manifests import faults
from headrace.manifests.parts.prod import PROD
from headrace.manifests.spec import InferenceApp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.manifests.document import Path

SHARED_MEMORY = 1 << 30
"""Bytes of /dev/shm under ``gpu`` where the app names none: Docker's 64Mi stops torch's loader processes."""
_GPU_TAINT = "nvidia.com/gpu"


def with_profile(app: InferenceApp, name: str) -> InferenceApp:
    """The app under a profile; it has no profiles of its own any more.

    Raises:
        ConfigurationError: no such profile, or mistakes in what it makes of the app; each names the profile.
    """
    problems = problems_under(app, name)
    if problems:
        texts = tuple(text for _, text in problems)
        raise ConfigurationError(f"app {app.name} cannot be had under profile {name}", problems=texts)
    return InferenceApp.model_validate(_document(app, name))


def profile_names(app: InferenceApp) -> list[str]:
    """Every profile that the app has: those built in, then its own."""
    return [*BUILT_IN, *(name for name in app.profiles if name not in BUILT_IN)]


def problems_under(app: InferenceApp, name: str) -> list[tuple[Path, str]]:
    """What is wrong with the app under a profile: the path in the app, and the sentence, which names the profile."""
    known = profile_names(app)
    if name not in known:
        near = faults.nearest(name, known)
        remedy = f"did you mean {near}?" if near else f"known are {', '.join(known)}"
        return [((), f"there is no profile {name!r}; {remedy}")]
    try:
        InferenceApp.model_validate(_document(app, name))
    except ValidationError as fault:
        found = (faults.describe(error) for error in fault.errors(include_url=False))
        return [(path, f"profile {name}: {text}") for path, text in found]
    return []


def laid_over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` laid over it, mapping by mapping; None removes a key, and a list replaces a list."""
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            below = base.get(key)
            result[key] = laid_over(below if isinstance(below, dict) else {}, value)
        else:
            result[key] = value
    return result


def _document(app: InferenceApp, name: str) -> dict[str, Any]:
    document: dict[str, Any] = app.document()
    if name in BUILT_IN:
        document = laid_over(document, BUILT_IN[name](app))
    own = app.profiles.get(name)
    if own:
        document = laid_over(document, {"metadata": {"labels": own.labels}, "spec": own.spec})
    return document


def _dev(app: InferenceApp) -> dict[str, Any]:
    """One replica of each part, no GPU, gone after a minute: a small cluster for trying things."""
    scale = {"min": 0, "max": 1, "idle": "1m", "initial": None, "activation": None}
    small: dict[str, Any] = {"resources": {"gpu": 0}, "nodes": None, "scale": scale}
    beside = app.spec.transformer is not None and app.spec.transformer.collocated
    transformer = {"resources": {"gpu": 0}} if beside else small
    return {"spec": {"predictor": small, **({"transformer": transformer} if app.spec.transformer else {})}}


def _gpu(app: InferenceApp) -> dict[str, Any]:
    """The predictor on GPU nodes: one GPU at least, their taint tolerated, room in /dev/shm."""
    predictor = app.spec.predictor
    wanted: dict[str, Any] = {"resources": {"gpu": max(predictor.resources.gpu, 1)}}
    if predictor.resources.shared_memory is None:
        wanted["resources"]["sharedMemory"] = min(SHARED_MEMORY, predictor.resources.memory // 2)
    tolerations = predictor.nodes.tolerations if predictor.nodes else []
    if not any(each.key == _GPU_TAINT for each in tolerations):
        known = [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in tolerations]
        wanted["nodes"] = {"tolerations": [*known, {"key": _GPU_TAINT, "effect": "NoSchedule"}]}
    return {"spec": {"predictor": wanted}}


def _prod(app: InferenceApp) -> dict[str, Any]:  # noqa: ARG001  # a profile's signature
    """Every concern of production at its defaults."""
    return PROD


BUILT_IN: dict[str, Callable[[InferenceApp], dict[str, Any]]] = {"dev": _dev, "gpu": _gpu, "prod": _prod}
"""The profiles that every app has: from app to what is laid over it."""
