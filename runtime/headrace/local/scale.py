"""How many replicas the manifests ask for: KServe's fields and Knative's annotations, read as their controllers do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.local.resources import Scale

if TYPE_CHECKING:
    from headrace.local.place import Place

IDLE = "headrace.dev/idle"
"""Annotation: the idle time as the app has it, nearer than Knative's own two can come."""
_KNATIVE = "autoscaling.knative.dev/"
# Knative's defaults (config-autoscaler).
_TARGET = 100.0
_UTILIZATION = 70.0
_WINDOW = 60.0


def read_scale(component: Place, annotations: Place, skipped: list[str]) -> Scale:
    """The scale of one component; Knative's own ``min-scale`` and ``max-scale`` go before KServe's fields."""
    minimum = annotations.whole(f"{_KNATIVE}min-scale", component.whole("minReplicas", 1))
    maximum = annotations.whole(f"{_KNATIVE}max-scale", component.whole("maxReplicas", 0))
    if maximum and minimum > maximum:
        component.fault(f"has minReplicas {minimum} above maxReplicas {maximum}")
    concurrency = component.whole("containerConcurrency", 0)
    window = annotations.seconds(f"{_KNATIVE}window", _WINDOW)
    retention = annotations.seconds(f"{_KNATIVE}scale-to-zero-pod-retention-period", 0)
    return Scale(
        minimum=minimum,
        maximum=maximum,
        target=_target(component, annotations, concurrency, skipped),
        concurrency=concurrency,
        window=window,
        # Knative waits for a window without requests, then for the retention period.
        idle=annotations.seconds(IDLE, window + retention),
    )


def _target(component: Place, annotations: Place, concurrency: int, skipped: list[str]) -> float:
    metric = component.text("scaleMetric", annotations.text(f"{_KNATIVE}metric", "concurrency"))
    usual = float(concurrency) or _TARGET
    wanted = component.number("scaleTarget", annotations.number(f"{_KNATIVE}target", usual))
    if metric != "concurrency":
        skipped.append(f"{component.path}.scaleMetric '{metric}': scaled by concurrency here")
        wanted = usual
    if concurrency:
        wanted = min(wanted, float(concurrency))
    utilization = annotations.number(f"{_KNATIVE}target-utilization-percentage", _UTILIZATION)
    return max(0.01, wanted * utilization / 100)
