"""Whether KServe keeps models on nodes here, and on the nodes that the apps name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from headrace.manifests.cluster.api import Query
from headrace.manifests.cluster.doctor.finding import Finding

if TYPE_CHECKING:
    from headrace.manifests.cluster.api import ClusterApi, Discovery
    from headrace.manifests.cluster.plan import Plan

_SETTINGS = Query("v1", "ConfigMap", "kserve", "inferenceservice-config")
_API = "serving.kserve.io/v1alpha1"
_GROUP = "LocalModelNodeGroup"


async def model_cache(api: ClusterApi, plan: Plan, found: Discovery) -> list[Finding]:
    """A warning where caches are off, an error for each group of nodes that is not there; nothing without a cache."""
    wanted = {
        name for each in plan.resources if each["kind"] == "LocalModelCache" for name in each["spec"]["nodeGroups"]
    }
    if not wanted:
        return []
    findings = [] if await _is_on(api) else [_off()]
    if (_API, _GROUP) not in found.kinds:
        return findings
    there = {each["metadata"]["name"] for each in (await api.find(Query(_API, _GROUP))).items}
    findings += [_missing(name, there) for name in sorted(wanted - there)]
    return findings or [Finding("ok", "model cache", f"on, with {', '.join(sorted(wanted))}")]


async def _is_on(api: ClusterApi) -> bool:
    """Off unless somebody turned it on (KServe's own default)."""
    live = (await api.find(_SETTINGS)).first or {}
    try:
        said = json.loads((live.get("data") or {}).get("localModel", "{}"))
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("enabled") is True


def _off() -> Finding:
    fix = "set localModel.enabled in ConfigMap kserve/inferenceservice-config, and restart KServe's controller"
    return Finding("warning", "model cache", "KServe keeps no models on nodes: localModel is not enabled", fix)


def _missing(name: str, there: set[str]) -> Finding:
    known = ", ".join(sorted(there)) or "none"
    return Finding(
        "error",
        "model cache",
        f"there is no {_GROUP} {name}; there is {known}",
        "create it, or change spec.predictor.cache.nodeGroups",
    )
