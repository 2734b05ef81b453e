"""Which KServe runs, as far as its controller's image says so."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from headrace.manifests.cluster.api import Query
from headrace.manifests.cluster.doctor.finding import Finding
from headrace.manifests.cluster.refusals import RefusedError

if TYPE_CHECKING:
    from headrace.manifests.cluster.api import ClusterApi

_CONTROLLER = Query("apps/v1", "Deployment", "kserve", "kserve-controller-manager")
"""As KServe's release manifests and charts have it."""
_TAG = re.compile(r":v?(?P<major>[0-9]+)\.(?P<minor>[0-9]+)[^:/]*\Z")
_MADE_FOR = (0, 21)


async def kserve(api: ClusterApi) -> list[Finding]:
    """A warning where it is older: ``deploymentMode: Knative`` has another name there. Nothing where nobody can say."""
    try:
        live = (await api.find(_CONTROLLER)).first
    except RefusedError:
        return []
    pod = ((live or {}).get("spec") or {}).get("template") or {}
    images = [str(each.get("image", "")) for each in (pod.get("spec") or {}).get("containers") or []]
    for match in filter(None, map(_TAG.search, (each for each in images if "kserve-controller" in each))):
        if (int(match["major"]), int(match["minor"])) < _MADE_FOR:
            version = f"{match['major']}.{match['minor']}"
            return [Finding("warning", "kserve", f"version {version} is older than 0.21", "upgrade KServe")]
        return [Finding("ok", "kserve", f"version {match['major']}.{match['minor']}")]
    return []
