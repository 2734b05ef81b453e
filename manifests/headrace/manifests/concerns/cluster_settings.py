"""What the cluster's own ConfigMaps must say for an app: the feature flags it needs, Knative's tracing and logs.

They belong to Knative, so Headrace never writes them: pruning or deleting an app would take Knative's settings along.
The app carries the patches instead, for an administrator, and for ``headrace doctor`` to compare with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.manifests.concerns import places
from headrace.manifests.concerns.tracing import endpoint
from headrace.manifests.inferenceservice import inference_service
from headrace.manifests.resource import Resource, metadata, resource
from headrace.manifests.yaml_text import to_yaml

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp

    Settings = dict[tuple[str, str], dict[str, str]]

_FLAGS = {
    "affinity": "kubernetes.podspec-affinity",
    "nodeSelector": "kubernetes.podspec-nodeselector",
    "priorityClassName": "kubernetes.podspec-priorityclassname",
    "runtimeClassName": "kubernetes.podspec-runtimeclassname",
    "schedulerName": "kubernetes.podspec-schedulername",
    "tolerations": "kubernetes.podspec-tolerations",
    "topologySpreadConstraints": "kubernetes.podspec-topologyspreadconstraints",
}
"""Fields of a pod that Knative refuses unless its flag is enabled."""
_REQUEST_LOG = (
    '{"method":"{{.Request.Method}}","path":"{{js .Request.URL.Path}}","status":{{.Response.Code}},'
    '"seconds":{{.Response.Latency}},"revision":"{{.Revision.Name}}","trace_id":"{{.TraceID}}"}'
)


def cluster_settings(app: InferenceApp, options: RenderOptions) -> list[Resource]:
    """A ConfigMap with one patch a ConfigMap of the cluster; none where nothing beyond Knative's defaults is needed.

    Each file is used as ``kubectl patch configmap NAME -n NAMESPACE --type merge --patch-file FILE``.
    """
    data = {
        f"{namespace}.{name}.yaml": to_yaml([{"data": values}])
        for (namespace, name), values in needed_settings(app, options).items()
    }
    about = metadata(app, f"{app.name}-cluster-settings", "cluster-settings")
    return [resource("v1", "ConfigMap", about, data=data)] if data else []


def needed_settings(app: InferenceApp, options: RenderOptions) -> Settings:
    """The keys that the app needs in the cluster's ConfigMaps, by their namespace and name."""
    found: Settings = {
        (places.KNATIVE, "config-autoscaler"): _autoscaler(app),
        (places.KNATIVE, "config-features"): _features(app, options),
        (places.KNATIVE, "config-network"): _network(app),
        (places.KNATIVE, "config-observability"): {**_traces(app), **_serving(app)},
    }
    if not places.has_dispatcher(app):
        found[places.EVENTING, "config-observability"] = _traces(app)
    return {place: values for place, values in found.items() if values}


def _features(app: InferenceApp, options: RenderOptions) -> dict[str, str]:
    """The flags of all pod fields that are rendered for Knative's services, by what is rendered and what is added.

    A model's store needs none: KServe puts its initializer, and the volume of a claim, into the pods, past Knative.
    """
    fields: set[str] = set()
    for each in inference_service(app, options):
        for role in ("predictor", "transformer"):
            fields |= set(each["spec"].get(role, {}))
    if app.spec.disruption and app.spec.disruption.models:
        fields |= {"priorityClassName", "topologySpreadConstraints"}
    flags = {flag for field, flag in _FLAGS.items() if field in fields}
    if app.spec.tracing and app.spec.tracing.kserve:
        # KServe's variables then name the pod and its node.
        flags.add("kubernetes.podspec-fieldref")
    return dict.fromkeys(sorted(flags), "enabled")


def _autoscaler(app: InferenceApp) -> dict[str, str]:
    """Knative refuses an initial scale of 0 unless the cluster allows it."""
    parts = (app.spec.predictor, *([app.spec.transformer] if app.spec.transformer else []))
    return {"allow-zero-initial-scale": "true"} if any(each.scale.initial == 0 for each in parts) else {}


def _network(app: InferenceApp) -> dict[str, str]:
    found = {}
    if app.spec.domain and app.spec.domain.certificate == "knative":
        found["external-domain-tls"] = "Enabled"
    if app.spec.mesh:
        # The autoscaler and the activator cannot reach pods by their addresses through sidecars.
        found["mesh-compatibility-mode"] = "enabled"
    return found


def _traces(app: InferenceApp) -> dict[str, str]:
    part, target = app.spec.tracing, endpoint(app)
    if part is None or target is None:
        return {}
    return {
        "tracing-protocol": "http/protobuf",
        "tracing-endpoint": f"{target.rstrip('/')}/v1/traces",
        "tracing-sampling-rate": f"{part.sampling:g}",
    }


def _serving(app: InferenceApp) -> dict[str, str]:
    found = {}
    if app.spec.metrics:
        found["request-metrics-protocol"] = "prometheus"
    if app.spec.logging and app.spec.logging.format == "json":
        found |= {"logging.enable-request-log": "true", "logging.request-log-template": _REQUEST_LOG}
    return found
