"""All questions of the doctor in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.manifests.cluster.doctor.finding import Finding, allowed_or
from headrace.manifests.cluster.doctor.gpus import gpus
from headrace.manifests.cluster.doctor.kafka import kafka
from headrace.manifests.cluster.doctor.kinds import kinds, namespaces, needed
from headrace.manifests.cluster.doctor.kserve import kserve
from headrace.manifests.cluster.doctor.model_cache import model_cache
from headrace.manifests.cluster.doctor.rights import rights
from headrace.manifests.cluster.doctor.settings import settings
from headrace.manifests.cluster.doctor.versions import versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.manifests.cluster.api import ClusterApi
    from headrace.manifests.cluster.plan import Plan
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp


async def examine(api: ClusterApi, plan: Plan, apps: Sequence[InferenceApp], options: RenderOptions) -> list[Finding]:
    """What the cluster has and lacks for a plan; for an empty one, what almost every app needs.

    Raises:
        UnavailableError: the cluster does not answer.
        RefusedError: it does not know these credentials.
    """
    wanted = needed(plan)
    versions_wanted = {version for version, _ in wanted} | {"v1"}
    if options.strimzi:
        versions_wanted.add("kafka.strimzi.io/v1")
    found = await api.discover(versions_wanted)
    return [
        *versions(found.version),
        *kinds(found, wanted),
        *await kserve(api),
        *(await allowed_or("namespaces", namespaces(api, plan)) if apps else []),
        *await allowed_or("rights", rights(api, plan, found)),
        *(await settings(api, apps, options) if apps else []),
        *await allowed_or("gpus", gpus(api, plan, found)),
        *await allowed_or("model cache", model_cache(api, plan, found)),
        *(await allowed_or("kafka", kafka(api, options, found)) if apps else []),
    ]


def errors(findings: Sequence[Finding]) -> list[Finding]:
    """Those on which a deploy refuses."""
    return [each for each in findings if each.level == "error"]
