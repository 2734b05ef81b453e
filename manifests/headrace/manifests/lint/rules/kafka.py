"""Rules of Strimzi's resources: its operator passes over what it does not understand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from headrace.manifests.lint.finding import Hit, Rule
from headrace.manifests.lint.manifest import Manifest, mapping, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

_GROUP = "kafka.strimzi.io"
_CLUSTER = "strimzi.io/cluster"
_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}\Z")


def _cluster(manifest: Manifest) -> Iterator[Hit]:
    if manifest.is_a(_GROUP, "KafkaTopic", "KafkaUser", "KafkaNodePool") and _CLUSTER not in manifest.labels:
        yield Hit(("metadata",), f"has no label {_CLUSTER}: no operator looks at it", f"write {_CLUSTER}: NAME")


def _topic(manifest: Manifest) -> Iterator[Hit]:
    if not manifest.is_a(_GROUP, "KafkaTopic"):
        return
    name = manifest.spec.get("topicName", manifest.name)
    if isinstance(name, str) and (not _TOPIC.match(name) or name in (".", "..")):
        place = ("spec", "topicName") if "topicName" in manifest.spec else ("metadata", "name")
        yield Hit(place, f"{name!r} cannot be a topic's name", "use letters, digits, '.', '_' and '-', 249 at most")
    replicas = whole(manifest.spec.get("replicas"))
    insync = mapping(manifest.spec.get("config")).get("min.insync.replicas")
    if replicas and str(insync).isdecimal() and int(str(insync)) > replicas:
        why = f"{insync} replicas must be in sync and there are {replicas}: nothing could be written"
        yield Hit(("spec", "config", "min.insync.replicas"), why, f"write {replicas} or less")


RULES = (
    Rule(
        "strimzi/cluster",
        "error",
        "A topic, user or pool names its Kafka cluster: the operator passes over one that does not.",
        "Write the label strimzi.io/cluster.",
        _cluster,
    ),
    Rule(
        "strimzi/topic",
        "error",
        "A topic's name is one that Kafka takes, and it has as many replicas as must be in sync.",
        "Correct it.",
        _topic,
    ),
)
