"""How many replicas the manifests ask for: KServe's fields and Knative's annotations, read as their controllers do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from headrace.local.annotations import PREFIX, Annotations
from headrace.local.place import Place
from headrace.local.resources import Name, Scale

if TYPE_CHECKING:
    from collections.abc import Mapping

IDLE = "headrace.dev/idle"
"""Annotation: the idle time as the app has it, nearer than Knative's own two can come."""
CONFIG = Name("knative-serving", "config-autoscaler")
"""The ConfigMap with the cluster's defaults; followed where it stands among the manifests."""
MOST_CONCURRENCY = 1000
"""Knative's limit of containerConcurrency (config-defaults)."""
_LEAST_TARGET = 0.01
_LEAST_WINDOW = 6.0
_LINEAR, _WEIGHTED = "linear", "weighted-exponential"
_KPA, _HPA = "kpa.autoscaling.knative.dev", "hpa.autoscaling.knative.dev"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What counts without an annotation: Knative's own values (config-autoscaler)."""

    target_percentage: float = 70.0
    target: float = 100.0
    rps: float = 200.0
    burst: float = 211.0
    window: float = 60.0
    panic_window: float = 10.0
    panic_threshold: float = 200.0
    up_rate: float = 1000.0
    down_rate: float = 2.0
    to_zero: bool = True
    grace: float = 30.0
    retention: float = 0.0
    minimum: int = 0
    maximum: int = 0
    delay: float = 0.0


def read_defaults(data: Mapping[str, bytes] | None, problems: list[str]) -> Defaults:
    """The cluster's defaults of ``config-autoscaler``; None is Knative's own."""
    if data is None:
        return Defaults()
    usual = Defaults()
    values = {key: value.decode().strip() for key, value in data.items() if not key.startswith("_")}
    found = Annotations(Place(f"ConfigMap {CONFIG}: data", values, problems), prefix="")
    return Defaults(
        target_percentage=found.number("container-concurrency-target-percentage", 70.0, least=1, most=100),
        target=found.number("container-concurrency-target-default", usual.target, least=_LEAST_TARGET),
        rps=found.number("requests-per-second-target-default", usual.rps, least=_LEAST_TARGET),
        burst=found.number("target-burst-capacity", usual.burst, least=0, also=-1),
        window=found.seconds("stable-window", usual.window, least=_LEAST_WINDOW, whole=True),
        panic_window=found.number("panic-window-percentage", usual.panic_window, least=1, most=100),
        panic_threshold=found.number("panic-threshold-percentage", usual.panic_threshold, least=110, most=1000),
        up_rate=found.number("max-scale-up-rate", usual.up_rate, least=1.0001),
        down_rate=found.number("max-scale-down-rate", usual.down_rate, least=1.0001),
        to_zero=found.flag("enable-scale-to-zero", default=True),
        grace=found.seconds("scale-to-zero-grace-period", usual.grace),
        retention=found.seconds("scale-to-zero-pod-retention-period", usual.retention),
        minimum=found.whole("min-scale", 0),
        maximum=found.whole("max-scale", 0),
        delay=found.seconds("scale-down-delay", usual.delay, whole=True),
    )


@dataclass(frozen=True, slots=True)
class Wishes:
    """What stands beside the annotations: KServe's fields of a component, or those of a Knative Service."""

    minimum: int
    maximum: int
    concurrency: int
    metric: str = ""
    target: float | None = None


def kserve_wishes(component: Place) -> Wishes:
    """Of a component of an InferenceService; without ``minReplicas`` KServe keeps one."""
    target = component.at("scaleTarget").value
    return Wishes(
        component.whole("minReplicas", 1),
        component.whole("maxReplicas", 0),
        component.whole("containerConcurrency", 0),
        component.text("scaleMetric", ""),
        component.number("scaleTarget", 1.0) if target is not None else None,
    )


def read_scale(wishes: Wishes, annotations: Place, skipped: list[str], defaults: Defaults) -> Scale:
    """The scale of one revision; Knative's own annotations go before KServe's fields."""
    found = Annotations(annotations)
    if wishes.concurrency > MOST_CONCURRENCY:
        annotations.fault(f"belong to a containerConcurrency above {MOST_CONCURRENCY}, Knative's limit")
    metric = _metric(wishes, found, skipped)
    target, total = _target(wishes, found, metric, defaults)
    window = found.seconds("window", defaults.window, least=_LEAST_WINDOW, whole=True)
    percentage = found.number("panic-window-percentage", defaults.panic_window, least=1, most=100)
    scale = Scale(
        minimum=found.whole("min-scale", wishes.minimum),
        maximum=found.whole("max-scale", wishes.maximum),
        initial=found.whole("initial-scale", 0),
        activation=found.whole("activation-scale", 1, least=2),
        metric=metric,
        target=target,
        total=total,
        concurrency=wishes.concurrency,
        burst=found.number("target-burst-capacity", defaults.burst, least=0, also=-1),
        window=window,
        panic_window=max(1.0, float(round(window * percentage / 100))),
        panic_threshold=found.number("panic-threshold-percentage", defaults.panic_threshold, least=110, most=1000),
        up_rate=defaults.up_rate,
        down_rate=defaults.down_rate,
        delay=found.seconds("scale-down-delay", defaults.delay, whole=True),
        retention=found.seconds("scale-to-zero-pod-retention-period", defaults.retention),
        grace=defaults.grace,
        to_zero=defaults.to_zero,
        weighted=found.choice("metric-aggregation-algorithm", _LINEAR, (_LINEAR, _WEIGHTED)) == _WEIGHTED,
        idle=annotations.seconds(IDLE, 0.0) if annotations.at(IDLE).value is not None else None,
    )
    _check(scale, annotations)
    return scale


def _check(scale: Scale, annotations: Place) -> None:
    if scale.maximum and scale.minimum > scale.maximum:
        annotations.fault(f"and fields have a least scale of {scale.minimum} above the most, {scale.maximum}")
    if scale.activation > 1 and (scale.minimum > scale.activation or 0 < scale.maximum < scale.activation):
        annotations.fault(f"have an activation-scale of {scale.activation} outside of min-scale and max-scale")


def _metric(wishes: Wishes, found: Annotations, skipped: list[str]) -> Literal["concurrency", "rps"]:
    place = found.at("metric")
    metric = str(place.value or wishes.metric or "concurrency")
    scaler = found.choice("class", _KPA, (_KPA, _HPA)) if _is_knatives(found) else ""
    if scaler != _KPA:
        skipped.append(f"{found.at('class').path} '{found.at('class').value}': scaled by Knative's own, the kpa, here")
    if metric in ("concurrency", "rps"):
        return "rps" if metric == "rps" else "concurrency"
    if metric in ("cpu", "memory") or scaler == _HPA:
        skipped.append(f"{place.path} '{metric}': scaled by concurrency here")
    else:
        place.fault(f"is {metric!r}, not concurrency or rps")
    return "concurrency"


def _is_knatives(found: Annotations) -> bool:
    """Whether one of Knative's autoscalers is meant; others have names of their own."""
    value = found.at("class").value
    return value is None or str(value).endswith(PREFIX.rstrip("/"))


def _target(wishes: Wishes, found: Annotations, metric: str, defaults: Defaults) -> tuple[float, float]:
    """What the autoscaler aims at a replica, and what a replica is meant to hold at most."""
    usual = defaults.rps if metric == "rps" else float(wishes.concurrency) or defaults.target
    asked = found.number("target", usual if wishes.target is None else wishes.target, least=_LEAST_TARGET)
    total = min(asked, float(wishes.concurrency)) if metric == "concurrency" and wishes.concurrency else asked
    percentage = found.number("target-utilization-percentage", defaults.target_percentage, least=1, most=100)
    return max(_LEAST_TARGET, total * percentage / 100), total
