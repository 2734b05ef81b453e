"""The model and its transformer: KServe's ``InferenceService``, in Knative mode, so that it scales to zero."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

from headrace.manifests.configuration import config_annotations
from headrace.manifests.containers import (
    BESIDE_PORT,
    pod_fields,
    predictor_container,
    transformer_apart,
    transformer_container,
)
from headrace.manifests.knative_delivery import request_timeout
from headrace.manifests.quantity import format_duration
from headrace.manifests.resource import Resource, labels, metadata, resource

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.parts.scaling import Scale
    from headrace.manifests.spec import Component, InferenceApp

IDLE = "headrace.dev/idle"
"""Annotation: ``scale.idle`` as written; Knative's own annotations can only come near it."""
_SHORTEST_WINDOW = timedelta(seconds=6)
_USUAL_WINDOW = timedelta(seconds=60)


def inference_service(app: InferenceApp, options: RenderOptions) -> list[Resource]:
    """The InferenceService of the app."""
    about = metadata(app, app.name, "inference-service")
    about["annotations"] = {"serving.kserve.io/deploymentMode": "Knative"}
    predictor, transformer = app.spec.predictor, app.spec.transformer
    if transformer is None or transformer_apart(app):
        spec = {"predictor": _component(app, predictor, "predictor", [predictor_container(app, options)])}
        if transformer:
            own = [transformer_container(app, transformer, options)]
            spec["transformer"] = _component(app, transformer, "transformer", own)
    else:
        both = [predictor_container(app, options, BESIDE_PORT), transformer_container(app, transformer, options)]
        spec = {"predictor": _component(app, predictor, "predictor", both, transformer)}
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


def _component(
    app: InferenceApp, part: Component, role: str, containers: list[Resource], *beside: Component
) -> Resource:
    trigger = app.spec.trigger
    return {
        "minReplicas": part.scale.min,
        # Never left out: with minReplicas 0 KServe makes 0 of an absent maxReplicas.
        "maxReplicas": part.scale.max,
        "scaleMetric": "concurrency",
        "scaleTarget": part.scale.target,
        # No hard limit unless asked for: the server queues and batches by itself, and a limit queues in front of it.
        "containerConcurrency": part.scale.limit or 0,
        "timeout": math.ceil(request_timeout(trigger).total_seconds()),
        "labels": labels(app, role),
        "annotations": {
            **idle_annotations(part.scale.idle),
            **_scale_annotations(part.scale),
            # A replica that loads for longer than events wait for it has failed; one that loads shorter has not.
            "serving.knative.dev/progress-deadline": format_duration(_whole_seconds(trigger.cold_start)),
            **config_annotations(app),
        },
        **pod_fields(app, part, *beside),
        "containers": containers,
    }


def _scale_annotations(scale: Scale) -> dict[str, str]:
    wanted = {
        "initial-scale": scale.initial,
        "activation-scale": scale.activation,
        "target-burst-capacity": scale.burst,
        "scale-down-delay": None if scale.delay is None else format_duration(scale.delay),
    }
    return {f"autoscaling.knative.dev/{name}": str(value) for name, value in wanted.items() if value is not None}


def _whole_seconds(value: timedelta) -> timedelta:
    return timedelta(seconds=math.ceil(value.total_seconds()))
