"""What Prometheus scrapes: a ``PodMonitor`` for the dispatcher, one for predictor and transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.manifests.concerns import places
from headrace.manifests.concerns.additions import NOTHING, PodAdditions
from headrace.manifests.containers import BESIDE_PORT, transformer_apart
from headrace.manifests.quantity import format_duration
from headrace.manifests.resource import Resource, metadata, resource

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.parts.observability import Metrics
    from headrace.manifests.spec import InferenceApp

    Endpoint = dict[str, Any]

_PATH = "/metrics"
_POD_LABELS = ["app.kubernetes.io/name", "app.kubernetes.io/component"]
_QUEUE_PORT = "http-usermetric"
"""Name that Knative gives to the queue-proxy's port for Prometheus."""


def metrics(app: InferenceApp, options: RenderOptions) -> list[Resource]:  # noqa: ARG001  # a concern's signature
    """The PodMonitors of the app."""
    part = app.spec.metrics
    if part is None:
        return []
    models: list[Endpoint] = [{"portNumber": places.SERVER_PORT, "path": _PATH}, {"port": _QUEUE_PORT, "path": _PATH}]
    if app.spec.transformer and not transformer_apart(app):
        models.append(_moved("user-port", BESIDE_PORT, _PATH))
    found = [_monitor(app, part, "models", places.model_roles(app), models)]
    if places.has_dispatcher(app):
        own: list[Endpoint] = [{"portNumber": places.DISPATCHER_METRICS_PORT, "path": _PATH}]
        found.insert(0, _monitor(app, part, places.DISPATCHER, (places.DISPATCHER,), own))
    return found


def metric_additions(app: InferenceApp, options: RenderOptions, role: str) -> PodAdditions:  # noqa: ARG001  # an addition's signature
    """The dispatcher's port, and for a sidecar where the app's metrics are, which it serves with its own."""
    if app.spec.metrics is None or role == places.COLLECTOR:
        return NOTHING
    port = places.DISPATCHER_METRICS_PORT if role == places.DISPATCHER else places.SERVER_PORT
    merged = {"prometheus.io/scrape": "true", "prometheus.io/port": str(port), "prometheus.io/path": _PATH}
    annotations = merged if app.spec.mesh else {}
    if role != places.DISPATCHER:
        return PodAdditions(annotations=annotations)
    declared = {"name": "metrics", "containerPort": port, "protocol": "TCP"}
    return PodAdditions(annotations=annotations, env={"HEADRACE_METRICS_PORT": str(port)}, ports=(declared,))


def _monitor(
    app: InferenceApp, part: Metrics, name: str, roles: tuple[str, ...], endpoints: list[Endpoint]
) -> Resource:
    about = metadata(app, f"{app.name}-{name}", "metrics")
    about["labels"] = {**part.labels, **about["labels"]}
    selector = {
        "matchLabels": {"app.kubernetes.io/name": app.name},
        "matchExpressions": [{"key": "app.kubernetes.io/component", "operator": "In", "values": list(roles)}],
    }
    interval = format_duration(part.interval)
    reached = [_sidecar()] if app.spec.mesh else endpoints
    spec = {
        "selector": selector,
        "podTargetLabels": list(_POD_LABELS),
        "podMetricsEndpoints": [{**each, "interval": interval} for each in reached],
    }
    return resource("monitoring.coreos.com/v1", "PodMonitor", about, spec=spec)


def _sidecar() -> Endpoint:
    """The sidecar's page, the only one that can be read from outside the mesh."""
    return _moved("http-envoy-prom", places.SIDECAR_METRICS_PORT, "/stats/prometheus")


def _moved(named: str, port: int, path: str) -> Endpoint:
    """A port that no container declares, found by one that is declared.

    The address is made from the pod's; one with ``:`` in it stands in brackets.
    """
    address = ["__meta_kubernetes_pod_ip"]
    return {
        "port": named,
        "path": path,
        "relabelings": [
            {"sourceLabels": address, "regex": "([0-9.]+)", "targetLabel": "__address__", "replacement": f"$1:{port}"},
            {"sourceLabels": address, "regex": "(.*:.*)", "targetLabel": "__address__", "replacement": f"[$1]:{port}"},
        ],
    }
