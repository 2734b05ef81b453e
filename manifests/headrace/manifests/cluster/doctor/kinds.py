"""Whether the cluster serves the kinds and versions that are rendered, and has the namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.manifests.cluster.api import Query
from headrace.manifests.cluster.doctor.finding import Finding
from headrace.manifests.cluster.reference import group_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.manifests.cluster.api import ClusterApi, Discovery
    from headrace.manifests.cluster.plan import Plan

PRODUCTS = {
    "cert-manager.io": "cert-manager",
    "eventing.knative.dev": "Knative Eventing 1.22, with its Kafka broker and sink",
    "extensions.istio.io": "Istio",
    "external-secrets.io": "the External Secrets Operator",
    "kafka.strimzi.io": "Strimzi",
    "keda.sh": "KEDA",
    "monitoring.coreos.com": "the Prometheus Operator",
    "networking.internal.knative.dev": "Knative Serving 1.23",
    "networking.istio.io": "Istio",
    "security.istio.io": "Istio",
    "serving.knative.dev": "Knative Serving 1.23",
    "serving.kserve.io": "KServe 0.21",
    "sources.knative.dev": "Knative's Kafka source 1.23",
    "telemetry.istio.io": "Istio",
}
"""What brings each API group."""
BASIC = (
    ("serving.kserve.io/v1beta1", "InferenceService"),
    ("serving.knative.dev/v1", "Service"),
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("kafka.strimzi.io/v1", "KafkaTopic"),
)
"""What almost every app needs."""


def needed(plan: Plan) -> list[tuple[str, str]]:
    """ApiVersion and kind of all that is rendered; the basic ones where nothing is."""
    rendered = dict.fromkeys((each["apiVersion"], each["kind"]) for each in plan.resources)
    if not rendered:
        return list(BASIC)
    # Rendered nowhere, and made by KServe of every InferenceService.
    return list({**rendered, ("serving.knative.dev/v1", "Service"): None})


def kinds(found: Discovery, wanted: Iterable[tuple[str, str]]) -> list[Finding]:
    """An error for each kind that is not served."""
    wanted = list(wanted)
    missing = [_missing(found, version, kind) for version, kind in wanted if (version, kind) not in found.kinds]
    return missing or [Finding("ok", "kinds", f"all {len(wanted)} kinds are served")]


def _missing(found: Discovery, api_version: str, kind: str) -> Finding:
    group = group_of(api_version)
    product = PRODUCTS.get(group, f"what brings {group}")
    if group and group not in found.groups:
        return Finding("error", "kinds", f"{kind} ({api_version}) is unknown here", f"install {product}")
    served = ", ".join(found.groups.get(group, ()))
    message = f"{kind} is not served as {api_version}; of {group} there is {served}" if group else f"no {kind}"
    return Finding("error", "kinds", message, f"install a release of {product} that serves {api_version}")


async def namespaces(api: ClusterApi, plan: Plan) -> list[Finding]:
    """An error for each namespace that neither is there nor is rendered."""
    used = {each["metadata"].get("namespace", "") for each in plan.resources} - {""} - plan.namespaces
    own = {app.namespace for app in plan.apps}
    found = []
    for name in sorted(used):
        if (await api.find(Query("v1", "Namespace", name=name))).first is None:
            fix = f"kubectl create namespace {name}, or say `isolation: {{}}` in the app's spec"
            if name not in own:
                fix = f"install what lives in {name}; of Kafka, is --kafka right?"
            found.append(Finding("error", "namespaces", f"namespace {name} is not there", fix))
    return found or [Finding("ok", "namespaces", f"{', '.join(sorted(used | plan.namespaces)) or 'none'} needed")]
