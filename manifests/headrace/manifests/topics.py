"""The Kafka topics of an app: Strimzi's ``KafkaTopic`` for events, results and dead letters."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from headrace.manifests.resource import Resource, metadata, resource

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions, Strimzi
    from headrace.manifests.spec import InferenceApp

LARGEST_RECORD = 16 << 20
"""Bytes of the largest record: a picture is not refused at Kafka's usual 1 MiB."""
DEAD_LETTER_ROOM = 1 << 20
"""Bytes by which a dead letter may be larger than its event, for the headers that say why it failed. Without them the
largest event could not be put aside and would hold its partition for ever."""
DEAD_LETTER_RETENTION = 14 * 24 * 3600 * 1000
"""Milliseconds that a dead letter is kept: long enough for a holiday."""
USAGE_RETENTION = 35 * 24 * 3600 * 1000
"""Milliseconds that usage is kept: a month's bill can be made after its end."""
ROLES = ("trigger-topic", "results-topic", "dead-letters-topic", "usage-topic")
"""What a topic is to an app, as its component label; the earlier one decides where apps share a topic."""
_LEGAL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_LONGEST = 200


def topics(app: InferenceApp, options: RenderOptions) -> list[Resource]:
    """The KafkaTopics of the app; none without Strimzi.

    Results have as many partitions as events, so that both are spread by key alike; dead letters have one, which
    people read in order.
    """
    if options.strimzi is None:
        return []
    trigger = app.spec.trigger
    events = {"max.message.bytes": LARGEST_RECORD}
    dead = {"max.message.bytes": LARGEST_RECORD + DEAD_LETTER_ROOM, "retention.ms": DEAD_LETTER_RETENTION}
    wanted = [(ROLES[0], trigger.topic, trigger.partitions, events)]
    if app.result_topic:
        wanted.append((ROLES[1], app.result_topic, trigger.partitions, events))
    wanted.append((ROLES[2], trigger.dead_letter_topic, 1, dead))
    if app.spec.usage:
        wanted.append((ROLES[3], app.spec.usage.topic, trigger.partitions, {"retention.ms": USAGE_RETENTION}))
    return [
        resource(
            "kafka.strimzi.io/v1",
            "KafkaTopic",
            _about(app, options.strimzi, role, name),
            spec={"topicName": name, "partitions": partitions, "config": dict(config)},
        )
        for role, name, partitions, config in wanted
    ]


def resource_name(topic: str) -> str:
    """A Kubernetes name for the topic: its own where that is legal, else one made from it and a hash of it."""
    if _LEGAL.match(topic):
        return topic
    plain = re.sub(r"[^a-z0-9]+", "-", topic.lower())[:_LONGEST].strip("-") or "topic"
    return f"{plain}-{hashlib.sha256(topic.encode()).hexdigest()[:8]}"


def _about(app: InferenceApp, strimzi: Strimzi, role: str, name: str) -> Resource:
    about = metadata(app, resource_name(name), role, namespace=strimzi.namespace)
    about["labels"]["strimzi.io/cluster"] = strimzi.cluster
    return about
