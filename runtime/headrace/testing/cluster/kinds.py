"""The kinds that a cluster with all of Headrace's neighbours serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.manifests.cluster.api import ApiKind

if TYPE_CHECKING:
    from collections.abc import Mapping

Kinds = dict[tuple[str, str], ApiKind]
"""By apiVersion and kind."""

_NAMESPACED = {
    "v1": "ConfigMap Event LimitRange PersistentVolumeClaim Pod ResourceQuota Secret Service ServiceAccount",
    "apps/v1": "Deployment",
    "cert-manager.io/v1": "Certificate",
    "eventing.knative.dev/v1": "Broker Trigger",
    "eventing.knative.dev/v1alpha1": "KafkaSink",
    "extensions.istio.io/v1alpha1": "WasmPlugin",
    "external-secrets.io/v1": "ExternalSecret",
    "kafka.strimzi.io/v1": "Kafka KafkaTopic KafkaUser",
    "keda.sh/v1alpha1": "ScaledObject TriggerAuthentication",
    "monitoring.coreos.com/v1": "PodMonitor PrometheusRule",
    "networking.istio.io/v1": "DestinationRule Gateway VirtualService",
    "networking.istio.io/v1alpha3": "EnvoyFilter",
    "networking.k8s.io/v1": "NetworkPolicy",
    "policy/v1": "PodDisruptionBudget",
    "rbac.authorization.k8s.io/v1": "Role RoleBinding",
    "security.istio.io/v1": "AuthorizationPolicy PeerAuthentication RequestAuthentication",
    "serving.knative.dev/v1": "Configuration Revision Route Service",
    "serving.knative.dev/v1beta1": "DomainMapping",
    "serving.kserve.io/v1beta1": "InferenceService",
    "sources.knative.dev/v1": "KafkaSource",
    "telemetry.istio.io/v1": "Telemetry",
}
_CLUSTER_WIDE = {
    "v1": "Namespace Node",
    "networking.internal.knative.dev/v1alpha1": "ClusterDomainClaim",
    "rbac.authorization.k8s.io/v1": "ClusterRole ClusterRoleBinding",
    "scheduling.k8s.io/v1": "PriorityClass",
    "serving.kserve.io/v1alpha1": "LocalModelCache LocalModelNodeGroup",
}


def all_kinds() -> Kinds:
    """A table of one's own, to take kinds out of or add some."""
    found: Kinds = {}
    for table, namespaced in ((_NAMESPACED, True), (_CLUSTER_WIDE, False)):
        for version, names in table.items():
            found |= {(version, name): ApiKind(name, _plural(name), namespaced) for name in names.split()}
    return found


def groups_of(kinds: Kinds) -> Mapping[str, tuple[str, ...]]:
    """Every group but the core, with its versions."""
    found: dict[str, dict[str, None]] = {}
    for api_version, _ in kinds:
        group, slash, version = api_version.rpartition("/")
        if slash:
            found.setdefault(group, {})[version] = None
    return {group: tuple(versions) for group, versions in found.items()}


def _plural(kind: str) -> str:
    word = kind.lower()
    if word.endswith("y"):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "ch")) else f"{word}s"
