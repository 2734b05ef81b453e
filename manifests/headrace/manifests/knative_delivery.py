"""Events by Knative instead of Headrace's dispatcher: a ``KafkaSource``, or ``Broker``, ``Trigger`` and ``KafkaSink``.

What is lost against the dispatcher: a KafkaSource throws answers away; both deliver single events, know no
transaction, count the wait for a cold start as part of an attempt, and double the wait between attempts without a cap.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from headrace.eventing.results import RESULT_TYPE
from headrace.manifests.kafka_access import source_settings
from headrace.manifests.parts.filters import rules
from headrace.manifests.resource import Resource, metadata, resource

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp, Trigger

LONGEST = timedelta(minutes=10)
"""Knative's limit for one request (config-defaults max-revision-timeout-seconds)."""
ANSWERS = RESULT_TYPE.rpartition("result")[0]
"""How the types of all answers begin, results and errors alike."""
LAG_PER_CONSUMER = 100
_EVENTING = "eventing.knative.dev/v1"
_SINK = "eventing.knative.dev/v1alpha1"


def knative_delivery(app: InferenceApp, options: RenderOptions) -> list[Resource]:
    """What ``trigger.delivery`` asks of Knative; nothing where Headrace delivers."""
    delivery = app.spec.trigger.delivery
    if delivery == "knative-source":
        return [_sink(app, "dead-letters", app.spec.trigger.dead_letter_topic, options), _source(app, options)]
    if delivery == "knative-broker":
        return _broker(app, options)
    return []


def request_timeout(trigger: Trigger) -> timedelta:
    """How long a request may take in all, for the revision and for who sends it.

    Knative holds a request while it starts a replica, so that a cold start is part of it; Headrace's dispatcher waits
    for the replica first, and then sends.
    """
    if trigger.delivery == "headrace":
        return trigger.timeout
    return min(trigger.timeout + trigger.cold_start, LONGEST)


def _source(app: InferenceApp, options: RenderOptions) -> Resource:
    trigger = app.spec.trigger
    about = metadata(app, app.name, "source")
    # Heard where the cluster lets KEDA scale sources (config-kafka-features controller-autoscaler-keda).
    about["annotations"] = {
        "autoscaling.eventing.knative.dev/min-scale": str(min(app.spec.predictor.scale.min, 1)),
        "autoscaling.eventing.knative.dev/max-scale": str(trigger.partitions),
        "autoscaling.eventing.knative.dev/lag-threshold": str(LAG_PER_CONSUMER),
    }
    spec: dict[str, Any] = {
        "bootstrapServers": options.kafka.split(","),
        "topics": [trigger.topic],
        "consumerGroup": app.consumer_group,
        "consumers": trigger.partitions,
        # As Headrace's dispatcher: a new group begins at the beginning. Knative's own default skips what is there.
        "initialOffset": "earliest",
        "ordering": _order(trigger),
        "delivery": {**_delivery(app), "timeout": _seconds(request_timeout(trigger))},
        "sink": _service(app),
    }
    if app.spec.kafka:
        spec["net"] = source_settings(app.spec.kafka)
    return resource("sources.knative.dev/v1", "KafkaSource", about, spec=spec)


def _broker(app: InferenceApp, options: RenderOptions) -> list[Resource]:
    trigger = app.spec.trigger
    config = resource("v1", "ConfigMap", metadata(app, f"{app.name}-broker", "broker"), data=_config(app, options))
    about = metadata(app, app.name, "broker")
    about["annotations"] = {
        "eventing.knative.dev/broker.class": "Kafka",
        # The topic is there already, and producers write to it without asking Knative.
        "kafka.eventing.knative.dev/external.topic": trigger.topic,
    }
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": f"{app.name}-broker", "namespace": app.namespace}
    broker = resource(_EVENTING, "Broker", about, spec={"config": reference, "delivery": _delivery(app)})
    # Answers come back through the broker: without this filter each would be an event to answer.
    asked = [{"not": {"prefix": {"type": ANSWERS}}}, *rules(trigger.filter, trigger.filters)]
    found = [
        _sink(app, "dead-letters", trigger.dead_letter_topic, options),
        config,
        broker,
        _trigger(app, app.name, asked, _service(app)),
    ]
    if app.result_topic:
        own = [{"exact": {"source": f"/headrace/{app.namespace}/{app.name}"}}, {"prefix": {"type": ANSWERS}}]
        found.insert(1, _sink(app, "results", app.result_topic, options))
        found.append(_trigger(app, f"{app.name}-results", own, _reference(app, "results")))
    return found


def _trigger(app: InferenceApp, name: str, filters: list[Resource], subscriber: Resource) -> Resource:
    about = metadata(app, name, "trigger")
    about["annotations"] = {"kafka.eventing.knative.dev/delivery.order": _order(app.spec.trigger)}
    # The trigger's delivery replaces the broker's, so it says all of it.
    spec = {"broker": app.name, "filters": filters, "subscriber": subscriber, "delivery": _delivery(app)}
    return resource(_EVENTING, "Trigger", about, spec=spec)


def _config(app: InferenceApp, options: RenderOptions) -> dict[str, str]:
    secret = {"auth.secret.ref.name": app.spec.kafka.secret} if app.spec.kafka else {}
    return {
        "bootstrap.servers": options.kafka,
        "default.topic.partitions": str(app.spec.trigger.partitions),
        "default.topic.replication.factor": "3",
        **secret,
    }


def _sink(app: InferenceApp, role: str, topic: str, options: RenderOptions) -> Resource:
    spec: dict[str, Any] = {"topic": topic, "bootstrapServers": options.kafka.split(","), "contentMode": "binary"}
    if app.spec.kafka:
        spec["auth"] = {"secret": {"ref": {"name": app.spec.kafka.secret}}}
    return resource(_SINK, "KafkaSink", metadata(app, f"{app.name}-{role}", "sink"), spec=spec)


def _reference(app: InferenceApp, role: str) -> Resource:
    name = f"{app.name}-{role}"
    return {"ref": {"apiVersion": _SINK, "kind": "KafkaSink", "name": name, "namespace": app.namespace}}


def _service(app: InferenceApp) -> Resource:
    """The InferenceService; its address has no path, and KServe's own server takes events on this one alone."""
    reference = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "name": app.name,
        "namespace": app.namespace,
    }
    return {"ref": reference, "uri": f"/v1/models/{app.name}:predict"}


def _delivery(app: InferenceApp) -> Resource:
    retry = app.spec.trigger.retry
    return {
        # Knative counts the repetitions, Headrace the deliveries.
        "retry": retry.attempts - 1,
        "backoffPolicy": retry.backoff,
        "backoffDelay": _seconds(retry.delay),
        "deadLetterSink": _reference(app, "dead-letters"),
    }


def _order(trigger: Trigger) -> str:
    return "unordered" if trigger.ordering == "none" else "ordered"


def _seconds(value: timedelta) -> str:
    """ISO 8601, in tenths of a second rounded up: Knative's parser keeps no finer ones."""
    tenths = math.ceil(value / timedelta(milliseconds=100))
    return f"PT{tenths // 10}S" if tenths % 10 == 0 else f"PT{tenths // 10}.{tenths % 10}S"
