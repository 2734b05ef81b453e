"""The model and its transformer: KServe's ``InferenceService``, in Knative mode, so that it scales to zero."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

from headrace.manifests.quantity import format_bytes, format_cpu, format_duration
from headrace.manifests.resource import Resource, environment, labels, metadata, resource

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import Component, InferenceApp, Predictor, Resources

HTTP_PORT = 8080
IDLE = "headrace.dev/idle"
"""Annotation: ``scale.idle`` as written; Knative's own annotations can only come near it."""
_SHORTEST_WINDOW = timedelta(seconds=6)
_USUAL_WINDOW = timedelta(seconds=60)
# KServe's storage initializer fetches these with the cluster's credentials and caches; the others are in the image.
_FETCHED_BY_KSERVE = ("s3://", "gs://", "hf://", "pvc://", "http://", "https://", "hdfs://", "webhdfs://", "oci://")


def inference_service(app: InferenceApp, options: RenderOptions) -> list[Resource]:
    """The InferenceService of the app."""
    about = metadata(app, app.name, "inference-service")
    about["annotations"] = {"serving.kserve.io/deploymentMode": "Knative"}
    spec = {"predictor": _predictor(app, options)}
    if app.spec.transformer:
        spec["transformer"] = _component(app, app.spec.transformer, "transformer", options)
    return [resource("serving.kserve.io/v1beta1", "InferenceService", about, spec=spec)]


def idle_annotations(idle: timedelta) -> dict[str, str]:
    """Knative's annotations under which the last replica goes after about ``idle``.

    Knative waits until a whole window saw no request, then for the retention period. The window is also what scaling
    averages over, so it stays at Knative's usual minute where ``idle`` is longer, and the retention makes up the rest.
    Both in whole seconds, rounded up (Knative refuses fractions in a window).
    """
    window = min(max(_whole_seconds(idle), _SHORTEST_WINDOW), _USUAL_WINDOW)
    retention = max(_whole_seconds(idle) - window, timedelta())
    return {
        "autoscaling.knative.dev/window": format_duration(window),
        "autoscaling.knative.dev/scale-to-zero-pod-retention-period": format_duration(retention),
        IDLE: format_duration(idle),
    }


def _predictor(app: InferenceApp, options: RenderOptions) -> Resource:
    predictor = app.spec.predictor
    component = _component(app, predictor, "predictor", options)
    container = component["containers"][0]
    container["args"] += _predictor_args(predictor)
    if predictor.model and predictor.model.startswith(_FETCHED_BY_KSERVE):
        container["env"] += environment({"STORAGE_URI": predictor.model})
    return component


def _predictor_args(predictor: Predictor) -> list[str]:
    model = [f"--model={predictor.model}"] if predictor.model else []
    return [
        *model,
        f"--max-batch-size={predictor.batching.max_size}",
        f"--max-batch-delay={format_duration(predictor.batching.max_delay)}",
    ]


def _component(app: InferenceApp, part: Component, role: str, options: RenderOptions) -> Resource:
    trigger = app.spec.trigger
    return {
        "minReplicas": part.scale.min,
        # Never left out: with minReplicas 0 KServe makes 0 of an absent maxReplicas.
        "maxReplicas": part.scale.max,
        "scaleMetric": "concurrency",
        "scaleTarget": part.scale.target,
        # No hard limit: the server queues and batches by itself, and a hard limit would queue in front of it.
        "containerConcurrency": 0,
        "timeout": math.ceil(trigger.timeout.total_seconds()),
        "labels": labels(app, role),
        "annotations": {
            **idle_annotations(part.scale.idle),
            # A replica that loads for longer than events wait for it has failed; one that loads shorter has not.
            "serving.knative.dev/progress-deadline": format_duration(_whole_seconds(trigger.cold_start)),
        },
        "containers": [_container(app, part, role, options)],
    }


def _container(app: InferenceApp, part: Component, role: str, options: RenderOptions) -> Resource:
    variables = {
        "HEADRACE_APP": app.name,
        "HEADRACE_NAMESPACE": app.namespace,
        "HEADRACE_MODEL_VERSION": app.model_version,
        "OTEL_SERVICE_NAME": f"{app.name}-{role}",
        **part.env,
    }
    return {
        "name": "kserve-container",
        "image": part.image or options.image,
        "command": ["headrace", "serve"],
        # KServe adds --model_name, --predictor_host and --http_port to a transformer's.
        "args": [f"--class={part.class_path}", f"--name={app.name}", f"--http-port={HTTP_PORT}"],
        "env": environment(variables),
        "ports": [{"name": "http1", "containerPort": HTTP_PORT, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": HTTP_PORT}},
        "resources": _resources(part.resources),
    }


def _resources(wanted: Resources) -> Resource:
    """Requests and limits alike: where a limit is left out KServe writes 1 CPU and 2Gi, be it below the request."""
    amounts = {"cpu": format_cpu(wanted.cpu), "memory": format_bytes(wanted.memory)}
    gpus = {"nvidia.com/gpu": str(wanted.gpu)} if wanted.gpu else {}
    return {"requests": dict(amounts), "limits": {**amounts, **gpus}}


def _whole_seconds(value: timedelta) -> timedelta:
    return timedelta(seconds=math.ceil(value.total_seconds()))
