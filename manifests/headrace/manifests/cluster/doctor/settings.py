"""Whether Knative's own ConfigMaps say what the apps need of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from headrace.manifests.cluster.api import Query
from headrace.manifests.cluster.doctor.finding import Finding, allowed_or
from headrace.manifests.concerns.cluster_settings import needed_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.manifests.cluster.api import ClusterApi
    from headrace.manifests.cluster.doctor.finding import Level
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp

_FEATURES, _AUTOSCALER = "config-features", "config-autoscaler"
_ON = frozenset({"enabled", "allowed"})
_VERSION = "app.kubernetes.io/version"
_MADE_FOR = (1, 23)


async def settings(api: ClusterApi, apps: Sequence[InferenceApp], options: RenderOptions) -> list[Finding]:
    """An error for each setting that Knative would refuse the app without, a warning for each other one."""
    wanted: dict[tuple[str, str], dict[str, str]] = {}
    for app in apps:
        for place, values in needed_settings(app, options).items():
            wanted.setdefault(place, {}).update(values)
    found = []
    for place, values in sorted(wanted.items()):
        found += await allowed_or("settings", _one(api, *place, values))
    return found or [Finding("ok", "settings", "Knative needs none beyond its defaults")]


async def _one(api: ClusterApi, namespace: str, name: str, values: Mapping[str, str]) -> list[Finding]:
    live = (await api.find(Query("v1", "ConfigMap", namespace, name))).first
    if live is None:
        return [Finding("warning", "settings", f"ConfigMap {namespace}/{name} is not there", "is Knative elsewhere?")]
    data: dict[str, str] = live.get("data") or {}
    missing = {key: value for key, value in values.items() if not _holds(name, data.get(key, ""), value)}
    about = f"ConfigMap {namespace}/{name}"
    version = _version(live)
    if not missing:
        return [*version, Finding("ok", "settings", f"{about} has what the apps need")]
    # Knative refuses what these forbid; the other settings only leave something out.
    level: Level = "error" if name in (_FEATURES, _AUTOSCALER) else "warning"
    said = ", ".join(f"{key}: {value}" for key, value in missing.items())
    return [*version, Finding(level, "settings", f"{about} lacks {said}", _patch(namespace, name, missing))]


def _holds(name: str, is_now: str, wanted: str) -> bool:
    if name == _FEATURES:
        return is_now.lower() in _ON
    return is_now.lower() == wanted.lower()


def _patch(namespace: str, name: str, values: Mapping[str, str]) -> str:
    """The command that sets them; one line whatever the values hold."""
    words = json.dumps({"data": dict(values)}, separators=(",", ":")).replace("'", "'\\''")
    return f"kubectl patch configmap {name} -n {namespace} --type merge -p '{words}'"


def _version(live: Mapping[str, dict[str, dict[str, str]]]) -> list[Finding]:
    """A warning where Knative says that it is an older one than the manifests are made for."""
    version = (live["metadata"].get("labels") or {}).get(_VERSION, "")
    parts = version.removeprefix("v").split(".")[:2]
    if len(parts) == len(_MADE_FOR) and all(map(str.isdecimal, parts)) and tuple(map(int, parts)) < _MADE_FOR:
        return [Finding("warning", "knative", f"version {version} is older than 1.23", "upgrade Knative")]
    return []
