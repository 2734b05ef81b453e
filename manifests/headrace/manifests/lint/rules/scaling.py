"""Rules of what scales, and of who else writes the same number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.manifests.lint.finding import Hit, Joint, Rule
from headrace.manifests.lint.manifest import Manifest, items, mapping, text, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.manifests.document import Path

_BOUNDS = {
    ("keda.sh", "ScaledObject"): ("minReplicaCount", "maxReplicaCount"),
    ("autoscaling", "HorizontalPodAutoscaler"): ("minReplicas", "maxReplicas"),
}
_KAFKA_NEEDS = ("bootstrapServers", "consumerGroup", "topic")


def _bounds(manifest: Manifest) -> Iterator[Hit]:
    names = _BOUNDS.get((manifest.group, manifest.kind))
    if names:
        low, high = (whole(manifest.spec.get(name)) for name in names)
        if low is not None and high is not None and low > high:
            yield Hit(("spec", names[0]), f"the least, {low}, is over the most, {high}", f"write {high} or less")


def _kafka(manifest: Manifest) -> Iterator[Hit]:
    if not manifest.is_a("keda.sh", "ScaledObject"):
        return
    for path, trigger in items(manifest.spec, ("triggers",)):
        if trigger.get("type") not in ("kafka", "apache-kafka"):
            continue
        about = mapping(trigger.get("metadata"))
        place: Path = ("spec", *path, "metadata")
        for name in _KAFKA_NEEDS:
            if name not in about and f"{name}FromEnv" not in about:
                yield Hit(place, f"{name} is missing: KEDA could not read the lag", f"write {name}")
        for name in ("lagThreshold", "activationLagThreshold"):
            if name in about and not text(about[name]).isdecimal():
                yield Hit((*place, name), f"{name} is not a whole number in quotes", 'write it as "100"')


def _target(manifest: Manifest) -> tuple[str, str, str] | None:
    """Namespace, kind and name of what a scaler scales."""
    if manifest.is_a("keda.sh", "ScaledObject") or manifest.is_a("autoscaling", "HorizontalPodAutoscaler"):
        target = mapping(manifest.spec.get("scaleTargetRef"))
    else:
        return None
    return manifest.namespace, text(target.get("kind")) or "Deployment", text(target.get("name"))


def _two_scalers(manifests: Sequence[Manifest]) -> Iterator[tuple[Manifest, Hit]]:
    first: dict[tuple[str, str, str], Manifest] = {}
    for each in manifests:
        target = _target(each)
        if target is None or not target[2]:
            continue
        if target in first and first[target].called != each.called:
            why = f"{first[target].called} scales {target[1]} {target[2]} as well: they would fight over its replicas"
            yield each, Hit(("spec", "scaleTargetRef"), why)
        first.setdefault(target, each)


def _fixed_replicas(manifests: Sequence[Manifest]) -> Iterator[tuple[Manifest, Hit]]:
    scaled = {target: each for each in manifests if (target := _target(each))}
    for each in manifests:
        scaler = scaled.get((each.namespace, each.kind, each.name))
        if scaler and "replicas" in each.spec:
            why = f"{scaler.called} writes it too: every apply sets it back"
            yield each, Hit(("spec", "replicas"), why)


def _source_consumers(manifest: Manifest) -> Iterator[Hit]:
    scaled = any(text(key).startswith("autoscaling.eventing.knative.dev/") for key in manifest.annotations)
    off = manifest.annotations.get("autoscaling.eventing.knative.dev/class") == "disabled"
    if manifest.kind == "KafkaSource" and scaled and not off and "consumers" in manifest.spec:
        yield Hit(("spec", "consumers"), "KEDA writes it too: every apply sets it back")


def _disruption(manifest: Manifest) -> Iterator[Hit]:
    if not manifest.is_a("policy", "PodDisruptionBudget"):
        return
    if "minAvailable" in manifest.spec and "maxUnavailable" in manifest.spec:
        yield Hit(("spec", "maxUnavailable"), "minAvailable and maxUnavailable stand together", "keep one of them")
    if manifest.spec.get("minAvailable") == "100%" or manifest.spec.get("maxUnavailable") in (0, "0%", "0"):
        key = "minAvailable" if "minAvailable" in manifest.spec else "maxUnavailable"
        yield Hit(("spec", key), "no pod may ever go: nodes cannot be drained", "let one go")


RULES = (
    Rule(
        "scaling/bounds",
        "error",
        "A scaler's least is not over its most.",
        "Lower the one or raise the other.",
        _bounds,
    ),
    Rule(
        "scaling/kafka-trigger",
        "error",
        "KEDA's Kafka trigger has servers, group and topic, and its thresholds are text.",
        "Write what is missing.",
        _kafka,
    ),
    Rule(
        "scaling/source-consumers",
        "warning",
        "A KafkaSource that KEDA scales states no consumers: applying it again would set them back.",
        "Remove consumers, or set autoscaling.eventing.knative.dev/class: disabled.",
        _source_consumers,
    ),
    Rule(
        "scaling/disruption",
        "error",
        "A disruption budget has one bound, and lets a pod go.",
        "Keep one bound.",
        _disruption,
    ),
    Joint(
        "scaling/two-scalers",
        "error",
        "One scaler scales a workload: two fight over its replicas.",
        "Remove one; KEDA makes an HPA of its own.",
        _two_scalers,
    ),
    Joint(
        "scaling/fixed-replicas",
        "warning",
        "A workload that is scaled states no replicas: applying it again would set them back.",
        "Remove replicas.",
        _fixed_replicas,
    ),
)
