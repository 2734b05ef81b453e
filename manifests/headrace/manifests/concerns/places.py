"""Where the neighbours of an app run, under which labels, on which ports; and of which pods an app consists.

Namespaces, labels and ports are those of the neighbours' own release manifests.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from headrace.manifests.containers import transformer_apart

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""Label that Kubernetes itself puts on each namespace."""
ISTIO = "istio-system"
GATEWAY = {"istio": "ingressgateway"}
"""Labels of the gateway's pods: Knative's outer and inner gateway are listeners of the same pods."""
GATEWAY_PORTS = (8080, 8081, 8443)
"""Outer HTTP, Knative's cluster-local listener, outer HTTPS: container ports behind 80, the local 80 and 443."""
ISTIOD_PORT = 15012
KNATIVE = "knative-serving"
ACTIVATOR = {"app": "activator"}
EVENTING = "knative-eventing"
QUEUE_PORTS = (8012, 8013, 8112)
"""The queue-proxy of a pod, and the activator: HTTP/1, HTTP/2, TLS."""
AUTOSCALER_PORT = 9090
"""Where the queue-proxy tells Knative's autoscaler of the requests in flight."""
QUEUE_METRICS_PORT = 9091
"""Where the queue-proxy tells Prometheus (config-observability request-metrics-protocol: prometheus)."""
SERVER_PORT = 8080
DISPATCHER_METRICS_PORT = 9464
"""OpenTelemetry's usual port for a Prometheus endpoint."""
SIDECAR_METRICS_PORT = 15020
"""Where an Istio sidecar serves its own and the app's metrics together, outside mutual TLS."""
OTLP_HTTP_PORT = 4318
PROBE = "/healthz"
"""Where Knative asks through the gateway whether a route is ready, with the header ``K-Network-Probe``."""
CHALLENGE = "/.well-known/acme-challenge/*"
"""Where a certificate's issuer asks whether the host is ours."""
SOLVER = {"acme.cert-manager.io/http01-solver": "true"}
"""Labels of the pod by which cert-manager answers, in the app's namespace."""
SOLVER_PORT = 8089
COLLECTOR = "collector"
DISPATCHER = "dispatcher"
_SERVICE = re.compile(r"[a-z0-9-]+\.(?P<namespace>[a-z0-9-]+)\.svc(\.|\Z)")


def model_roles(app: InferenceApp) -> tuple[str, ...]:
    """The Knative services of the app, the one that is called first at the head."""
    return ("transformer", "predictor") if transformer_apart(app) else ("predictor",)


def entry_role(app: InferenceApp) -> str:
    """The service that events and callers reach."""
    return model_roles(app)[0]


def has_dispatcher(app: InferenceApp) -> bool:
    """Whether Headrace's dispatcher delivers, not Knative."""
    return app.spec.trigger.delivery == "headrace"


def pod_roles(app: InferenceApp) -> tuple[str, ...]:
    """Every kind of pod that runs the app's code."""
    return (*((DISPATCHER,) if has_dispatcher(app) else ()), *model_roles(app))


def pods(app: InferenceApp, role: str) -> dict[str, str]:
    """The labels that select an app's pods of one role."""
    return {"app.kubernetes.io/name": app.name, "app.kubernetes.io/component": role}


def account(app: InferenceApp, role: str) -> str:
    """The service account under which a role runs: the one that the app names, else its own, else ``default``."""
    part = {"predictor": app.spec.predictor, "transformer": app.spec.transformer}.get(role)
    if part and part.service_account:
        return part.service_account
    return f"{app.name}-{role}" if has_accounts(app) else "default"


def has_accounts(app: InferenceApp) -> bool:
    """Whether roles have accounts of their own; a mesh needs them, since it tells callers apart by them."""
    return app.spec.access is not None or app.spec.mesh is not None


def principal(app: InferenceApp, role: str) -> str:
    """The identity that Istio's mutual TLS shows for a role."""
    return f"cluster.local/ns/{app.namespace}/sa/{account(app, role)}"


def kafka_servers(options: RenderOptions) -> tuple[tuple[str, int], ...]:
    """Host and port of each bootstrap server."""
    pairs = (server.rpartition(":") for server in options.kafka.split(","))
    return tuple((host.strip("[]"), int(port)) for host, _, port in pairs)


def service_namespace(host: str) -> str | None:
    """The namespace of a service's address in the cluster; None for any other host."""
    match = _SERVICE.match(host)
    return match["namespace"] if match else None
