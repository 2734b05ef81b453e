"""Where spans go: OpenTelemetry's variables in every container, and a collector that keeps what matters."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from headrace.manifests.concerns.additions import NOTHING, PodAdditions
from headrace.manifests.concerns.places import COLLECTOR, OTLP_HTTP_PORT, account, has_accounts, pods
from headrace.manifests.parts.observability import Collector
from headrace.manifests.quantity import format_bytes, format_cpu
from headrace.manifests.resource import Resource, labels, metadata, resource
from headrace.manifests.yaml_text import to_yaml

if TYPE_CHECKING:
    from datetime import timedelta

    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp

REQUESTS = {"cpu": 0.1, "memory": 256 << 20}
MEMORY_LIMIT = 512 << 20
SAMPLER = "parentbased_traceidratio"
_HEALTH_PORT = 13133
_FOLDER = "/etc/otelcol"
_FILE = "config.yaml"
_USER = 65532
_WAIT = "30s"
"""How long a trace is held before it is decided on. Spans that come later follow the decision."""


def tracing(app: InferenceApp, options: RenderOptions) -> list[Resource]:  # noqa: ARG001  # a concern's signature
    """ConfigMap, Deployment and Service of the app's collector; none where an endpoint is named."""
    part = app.spec.tracing
    if part is None or part.endpoint:
        return []
    collector = part.collector or Collector()
    text = to_yaml([_config(collector)])
    config = resource("v1", "ConfigMap", metadata(app, _name(app), COLLECTOR), data={_FILE: text})
    return [config, _deployment(app, collector, hashlib.sha256(text.encode()).hexdigest()), _service(app)]


def endpoint(app: InferenceApp) -> str | None:
    """The OTLP/HTTP endpoint of the app's spans; None without tracing."""
    part = app.spec.tracing
    if part is None:
        return None
    return part.endpoint or f"http://{_name(app)}.{app.namespace}.svc.cluster.local:{OTLP_HTTP_PORT}"


def tracing_additions(app: InferenceApp, options: RenderOptions, role: str) -> PodAdditions:  # noqa: ARG001  # an addition's signature
    """OpenTelemetry's variables: endpoint, protocol, sampler, propagators, and what the spans are of."""
    part = app.spec.tracing
    if part is None or role == COLLECTOR:
        return NOTHING
    about = {"service.namespace": app.namespace, "k8s.namespace.name": app.namespace, "headrace.app": app.name}
    return PodAdditions(
        env={
            "OTEL_EXPORTER_OTLP_ENDPOINT": str(endpoint(app)),
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_TRACES_SAMPLER": SAMPLER,
            "OTEL_TRACES_SAMPLER_ARG": f"{part.sampling:g}",
            "OTEL_PROPAGATORS": "tracecontext,baggage",
            # The collector that is rendered takes traces alone; Prometheus scrapes.
            **({} if part.endpoint else {"OTEL_METRICS_EXPORTER": "none"}),
            "OTEL_RESOURCE_ATTRIBUTES": ",".join(f"{key}={value}" for key, value in about.items()),
        }
    )


def kserve_tracing(app: InferenceApp) -> Resource:
    """KServe's ``spec.tracing``; empty unless asked for, since a cluster of an earlier build refuses the field."""
    part = app.spec.tracing
    if part is None or not part.kserve:
        return {}
    return {
        "exporter": "otlp",
        "exporterEndpoint": str(endpoint(app)),
        "sampler": SAMPLER,
        "samplerArg": f"{part.sampling:g}",
    }


def _name(app: InferenceApp) -> str:
    return f"{app.name}-{COLLECTOR}"


def _config(collector: Collector) -> dict[str, Any]:
    exporter: dict[str, Any] = {"debug": {"verbosity": "basic"}}
    if collector.export:
        # A backend that is away for a while loses nothing that fits into memory.
        retry = {"enabled": True, "max_elapsed_time": "5m"}
        exporter = {"otlphttp": {"endpoint": collector.export, "retry_on_failure": retry}}
    return {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"0.0.0.0:{OTLP_HTTP_PORT}"}}}},
        "processors": {
            "memory_limiter": {"check_interval": "1s", "limit_percentage": 80, "spike_limit_percentage": 20},
            "tail_sampling": _sampling(collector),
            "batch": {},
        },
        "exporters": exporter,
        "extensions": {"health_check": {"endpoint": f"0.0.0.0:{_HEALTH_PORT}"}},
        "service": {
            "extensions": ["health_check"],
            "pipelines": {
                "traces": {
                    "receivers": ["otlp"],
                    "processors": ["memory_limiter", "tail_sampling", "batch"],
                    "exporters": list(exporter),
                }
            },
        },
    }


def _sampling(collector: Collector) -> dict[str, Any]:
    return {
        "decision_wait": _WAIT,
        "num_traces": 20_000,
        "decision_cache": {"sampled_cache_size": 100_000, "non_sampled_cache_size": 100_000},
        "policies": [
            {"name": "failed", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
            {"name": "slow", "type": "latency", "latency": {"threshold_ms": _milliseconds(collector.slow)}},
            {"name": "rest", "type": "probabilistic", "probabilistic": {"sampling_percentage": collector.keep * 100}},
        ],
    }


def _milliseconds(value: timedelta) -> int:
    return round(value.total_seconds() * 1000)


def _deployment(app: InferenceApp, collector: Collector, checksum: str) -> Resource:
    template = {
        "metadata": {"labels": labels(app, COLLECTOR), "annotations": {"headrace.dev/config-checksum": checksum}},
        "spec": _pod(app, collector),
    }
    # One replica: only who sees all spans of a trace can decide on it.
    spec = {"replicas": 1, "selector": {"matchLabels": pods(app, COLLECTOR)}, "template": template}
    return resource("apps/v1", "Deployment", metadata(app, _name(app), COLLECTOR), spec=spec)


def _pod(app: InferenceApp, collector: Collector) -> dict[str, Any]:
    named = {"serviceAccountName": account(app, COLLECTOR)} if has_accounts(app) else {}
    return {
        **named,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(collector)],
        "volumes": [{"name": "config", "configMap": {"name": _name(app)}}],
    }


def _container(collector: Collector) -> dict[str, Any]:
    requests = {"cpu": format_cpu(REQUESTS["cpu"]), "memory": format_bytes(int(REQUESTS["memory"]))}
    return {
        "name": COLLECTOR,
        "image": collector.image,
        "args": [f"--config={_FOLDER}/{_FILE}"],
        "env": [{"name": "GOMEMLIMIT", "value": f"{MEMORY_LIMIT * 4 // 5 >> 20}MiB"}],
        "ports": [{"name": "otlp-http", "containerPort": OTLP_HTTP_PORT, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/", "port": _HEALTH_PORT}},
        "livenessProbe": {"httpGet": {"path": "/", "port": _HEALTH_PORT}},
        "resources": {"requests": requests, "limits": {"memory": format_bytes(MEMORY_LIMIT)}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "config", "mountPath": _FOLDER, "readOnly": True}],
    }


def _service(app: InferenceApp) -> Resource:
    port = {"name": "otlp-http", "port": OTLP_HTTP_PORT, "targetPort": OTLP_HTTP_PORT, "appProtocol": "http"}
    spec = {"selector": pods(app, COLLECTOR), "ports": [{**port, "protocol": "TCP"}]}
    return resource("v1", "Service", metadata(app, _name(app), COLLECTOR), spec=spec)
