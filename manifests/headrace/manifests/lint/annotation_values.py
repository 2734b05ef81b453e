"""The annotations of Knative and KServe, and what their values may be.

Sources: Knative Serving 1.23 ``pkg/apis/autoscaling`` and ``pkg/apis/serving``, Eventing 1.22, the Kafka broker 1.23,
KServe 0.21 ``pkg/constants``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from headrace.manifests.lint.durations import go_seconds

Check = Callable[[str], str]
"""Says what is wrong with a value; nothing when it is right."""

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?\Z")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[kMGTPE]|[KMGTPE]i)?\Z")
_DAYS = 86_400.0


def _whole(least: int, most: int | None = None) -> Check:
    def check(value: str) -> str:
        fits = re.fullmatch(r"-?[0-9]+", value) and least <= int(value) and (most is None or int(value) <= most)
        bound = f"{least} or more" if most is None else f"from {least} to {most}"
        return "" if fits else f"must be a whole number, {bound}"

    return check


def _number(least: float, most: float | None = None) -> Check:
    def check(value: str) -> str:
        fits = _NUMBER.match(value) and least <= float(value) and (most is None or float(value) <= most)
        bound = f"{least:g} or more" if most is None else f"from {least:g} to {most:g}"
        return "" if fits else f"must be a number, {bound}"

    return check


def _duration(least: float, most: float, *, whole: bool = False) -> Check:
    def check(value: str) -> str:
        seconds = go_seconds(value)
        if seconds is None:
            return "must be a duration such as 30s or 1m30s"
        if not least <= seconds <= most:
            return f"must lie between {least:g}s and {most:g}s"
        return "must be whole seconds" if whole and seconds % 1 else ""

    return check


def _one_of(*choices: str) -> Check:
    return lambda value: "" if value in choices else f"must be {' or '.join(choices)}"


def _burst(value: str) -> str:
    return "" if value == "-1" else _number(0)(value)


def _quantity(value: str) -> str:
    return "" if _QUANTITY.match(value) else "must be a quantity such as 100m or 64Mi"


_boolean = _one_of("true", "false")
_CLASSES = {
    f"{name}.autoscaling.knative.dev": ("concurrency", "rps", "cpu", "memory") for name in ("kpa", "hpa")
}  # fmt: skip


def _scaler_class(value: str) -> str:
    if value in _CLASSES:
        return ""
    if value.endswith("autoscaling.knative.dev") or "." not in value:
        return f"must be {' or '.join(_CLASSES)}"
    return ""  # another autoscaler's


_AUTOSCALING: dict[str, Check] = {
    "class": _scaler_class,
    "min-scale": _whole(0),
    "max-scale": _whole(0),
    "initial-scale": _whole(0),
    "activation-scale": _whole(2),
    "scale-down-delay": _duration(0, 3600),
    "metric": _one_of("concurrency", "rps", "cpu", "memory"),
    "target": _number(0.01),
    "target-utilization-percentage": _number(1, 100),
    "target-burst-capacity": _burst,
    "window": _duration(6, 3600, whole=True),
    "panic-window-percentage": _number(1, 100),
    "panic-threshold-percentage": _number(110, 1000),
    "scale-to-zero-pod-retention-period": _duration(0, 3600),
    "metric-aggregation-algorithm": _one_of("linear", "weighted-exponential"),
}
_NEVER: Check = lambda value: ""  # noqa: ARG005, E731  # any value will do
_SIDECAR = {f"{what}-resource-{how}": _quantity for what in ("cpu", "memory", "ephemeral-storage") for how in ("request", "limit")}  # noqa: E501  # fmt: skip
_FREE = (
    "storage-initializer-uid", "storageSecretName", "s3-endpoint", "s3-usehttps", "s3-region", "s3-verifyssl",
    "s3-useanoncredential", "s3-cabundle", "gpu-resource-types", "nodegroup", "localmodel", "inferenceservice",
    "secretName",
)  # fmt: skip
"""Annotations of KServe's that take any text."""
_TABLE: dict[str, dict[str, Check]] = {
    "autoscaling.knative.dev": {
        **_AUTOSCALING,
        **{re.sub("-(.)", lambda match: match[1].upper(), name): check for name, check in _AUTOSCALING.items()},
    },
    "serving.knative.dev": {
        "rollout-duration": _duration(0, _DAYS),
        "rolloutDuration": _duration(0, _DAYS),
        "progress-deadline": _duration(1, _DAYS, whole=True),
        "progressDeadline": _duration(1, _DAYS, whole=True),
        "no-gc": _boolean,
        "queueSidecarResourcePercentage": _number(0, 100),
        "visibility": _NEVER,
        "configuration": _NEVER,
        "service": _NEVER,
        "revision": _NEVER,
        "route": _NEVER,
    },
    "queue.sidecar.serving.knative.dev": {**_SIDECAR, "resource-percentage": _number(0.1, 100)},
    "features.knative.dev": {
        "http-full-duplex": _one_of("Enabled", "Disabled", "enabled", "disabled"),
        "queueproxy-podinfo": _one_of("enabled", "disabled"),
    },
    "networking.knative.dev": {
        "ingress-class": _NEVER,
        "ingress.class": _NEVER,
        "certificate-class": _NEVER,
        "certificate.class": _NEVER,
        "disable-auto-tls": _boolean,
        "disableAutoTLS": _boolean,
        "disable-external-domain-tls": _boolean,
        "http-option": _one_of("Enabled", "Redirected", "enabled", "redirected"),
        "http-protocol": _one_of("Enabled", "Redirected", "enabled", "redirected"),
        "httpOption": _one_of("Enabled", "Redirected", "enabled", "redirected"),
        "httpProtocol": _one_of("Enabled", "Redirected", "enabled", "redirected"),
        "visibility": _one_of("cluster-local"),
        "wildcard-domain": _NEVER,
    },
    "serving.kserve.io": {
        # The mode has rules of its own (kserve/deployment-mode).
        "deploymentMode": _NEVER,
        "autoscalerClass": _one_of("hpa", "keda", "external", "none"),
        "metrics": _one_of("cpu", "memory", "concurrency", "rps"),
        "targetUtilizationPercentage": _number(1, 100),
        "enable-tag-routing": _boolean,
        "enable-prometheus-scraping": _boolean,
        "enable-metric-aggregation": _boolean,
        "disable-localmodel": _boolean,
        "disable-auto-update": _boolean,
        "stop": _boolean,
        **dict.fromkeys(_FREE, _NEVER),
    },
    "storage.kserve.io": {"readonly": _boolean},
    "prometheus.kserve.io": {"port": _whole(1, 65535), "path": _NEVER},
    "eventing.knative.dev": {
        "broker.class": _NEVER,
        "scope": _one_of("cluster", "namespace", "resource"),
        "injection": _one_of("enabled", "disabled"),
        "release": _NEVER,
        "creator": _NEVER,
        "lastModifier": _NEVER,
    },
    "kafka.eventing.knative.dev": {
        "delivery.order": _one_of("ordered", "unordered"),
        "external.topic": _NEVER,
        "group.id": _NEVER,
        "topic": _NEVER,
    },
    "autoscaling.eventing.knative.dev": {
        "class": _one_of("keda.autoscaling.knative.dev", "disabled"),
        "min-scale": _whole(0),
        "max-scale": _whole(1),
        "polling-interval": _whole(1),
        "cooldown-period": _whole(1),
        "lag-threshold": _whole(1),
        "activation-lag-threshold": _whole(0),
    },
}
KNOWN: dict[str, frozenset[str]] = {group: frozenset(checks) for group, checks in _TABLE.items()}
"""The names that each group knows."""
VALUES: dict[str, Check] = {
    f"{group}/{name}": check for group, checks in _TABLE.items() for name, check in checks.items()
}  # fmt: skip
"""What is wrong with a value, by the annotation's full name."""
