"""Knative's eventing kinds -> topics, places to post events to, and deliveries from topics to subscribers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headrace.eventing.filters import FilterError, compile_filters
from headrace.local.plan_workloads import add_pod
from headrace.local.reading import Binding
from headrace.local.resources import Delivery, EventIngress, Name, Topic

if TYPE_CHECKING:
    from headrace.local.containers import Container
    from headrace.local.place import Place
    from headrace.local.reading import Reading

BROKER_INGRESS = Name("knative-eventing", "kafka-broker-ingress")
SINK_INGRESS = Name("knative-eventing", "kafka-sink-ingress")
"""The Services of Knative's Kafka data plane that events are posted to, with ``/NAMESPACE/NAME`` as the path."""
_PARTITIONS = 10
_DURATION = re.compile(r"PT(?:(\d+(?:\.\d+)?)H)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)S)?\Z")
_ADDRESSED = ("InferenceService", "Service")
_USUAL_DELAY = 0.2


def broker(name: Name, place: Place, reading: Reading) -> None:
    """Its topic, and the place to post events to."""
    annotations = place.mapping("metadata").mapping("annotations")
    kind = annotations.text("eventing.knative.dev/broker.class", "Kafka")
    if kind not in ("Kafka", "KafkaNamespaced"):
        reading.ignored.append(f"{annotations.path} broker.class '{kind}': its events go through a Kafka topic here")
    topic = annotations.text(
        "kafka.eventing.knative.dev/external.topic", f"knative-broker-{name.namespace}-{name.name}"
    )
    config = place.mapping("spec").mapping("config")
    known = reading.config_maps.get(Name(config.text("namespace", name.namespace), config.text("name", "")), {})
    partitions = known.get("default.topic.partitions", b"").decode().strip()
    reading.wanted_topics.append(Topic(topic, int(partitions) if partitions.isdecimal() else _PARTITIONS))
    reading.ingresses.append(EventIngress("broker", name, topic))
    reading.brokers[name] = place.mapping("spec").mapping("delivery")


def kafka_sink(name: Name, place: Place, reading: Reading) -> None:
    """A topic, and the place to post events to."""
    spec = place.mapping("spec", required=True)
    topic = spec.text("topic")
    if "auth" in spec.value:
        reading.ignored.append(f"{spec.path}.auth: the broker of the twin, or of --kafka, is written to")
    reading.wanted_topics.append(Topic(topic, spec.whole("numPartitions", _PARTITIONS) or 1))
    structured = spec.text("contentMode", "binary") == "structured"
    reading.ingresses.append(EventIngress("sink", name, topic, structured=structured))


def trigger(name: Name, place: Place, reading: Reading) -> None:
    """A delivery from its broker's topic, to which replies go back."""
    reading.triggers.append((name, place))


def kafka_source(name: Name, place: Place, reading: Reading) -> None:
    """A delivery from each of its topics; replies are dropped, as Knative drops them."""
    spec = place.mapping("spec", required=True)
    for field, instead in (
        ("net", "the broker of the twin, or of --kafka, is read"),
        ("bootstrapServers", "the broker of the twin, or of --kafka, is read"),
        ("consumers", "one reads here"),
    ):
        if field in spec.value:
            reading.ignored.append(f"{spec.at(field).path}: {instead}")
    if spec.text("initialOffset", "latest") == "latest":
        reading.ignored.append(f"{spec.at('initialOffset').path}: a new group begins at the beginning here")
    group = spec.text("consumerGroup", f"knative-kafka-source-{name.namespace}-{name.name}")
    usual = {"retry": 10, "backoffDelay": "PT0.3S", "timeout": "PT600S"}
    topics = spec.texts("topics") or ("",)
    for topic in topics:
        if not topic:
            spec.at("topics").fault("is missing")
        reading.wanted_topics.append(Topic(topic, 1))
        _deliver(
            Delivery(
                name=name,
                kind="source",
                topic=topic,
                group=group if len(topics) == 1 else f"{group}-{topic}",
                url="",
                dead_letters="",
                ordered=spec.text("ordering", "ordered") == "ordered",
                extensions=_extensions(spec),
            ),
            spec.mapping("sink", required=True),
            spec.mapping("delivery") if "delivery" in spec.value else spec.replaced(usual, "delivery"),
            reading,
        )


def sink_binding(name: Name, place: Place, reading: Reading) -> None:
    """Kept until the subjects are known."""
    spec = place.mapping("spec", required=True)
    subject = spec.mapping("subject", required=True)
    labels = subject.mapping("selector").mapping("matchLabels").value
    reading.bindings.append(
        Binding(
            subject,
            subject.text("kind"),
            Name(subject.text("namespace", name.namespace), subject.text("name", "")),
            {str(key): str(value) for key, value in labels.items()},
            _variables(spec, name, reading),
        )
    )


def container_source(name: Name, place: Place, reading: Reading) -> None:
    """Its containers as processes that know the sink by K_SINK."""
    spec = place.mapping("spec", required=True)
    pod = spec.mapping("template", required=True).mapping("spec", required=True)
    add_pod(name, pod, reading, _variables(spec, name, reading))


def finish(reading: Reading) -> None:
    """Triggers to their brokers, bindings to their subjects; every destination is looked for among what is known."""
    for name, place in reading.triggers:
        _trigger(name, place, reading)
    for binding in reading.bindings:
        _bind(binding, reading)
    known = _known(reading)
    for place, kind, wanted in reading.wanted_destinations:
        if wanted not in known[kind]:
            place.fault(f"names {kind} {wanted}, which is not among these manifests")


def _trigger(name: Name, place: Place, reading: Reading) -> None:
    spec = place.mapping("spec", required=True)
    source = Name(name.namespace, spec.text("broker", spec.mapping("brokerRef").text("name", "")))
    ingress = next((each for each in reading.ingresses if each.kind == "broker" and each.name == source), None)
    if ingress is None:
        spec.at("broker").fault(f"names '{source.name}', no Broker of these manifests")
        return
    order = place.mapping("metadata").mapping("annotations").text("kafka.eventing.knative.dev/delivery.order", "")
    # A trigger's delivery replaces the broker's, which replaces the cluster's (config-br-defaults).
    own = spec.mapping("delivery")
    chosen = own if own.value else reading.brokers[source]
    usual = {"retry": 10, "backoffDelay": "PT0.2S"}
    _deliver(
        Delivery(
            name=name,
            kind="trigger",
            topic=ingress.topic,
            group=f"knative-trigger-{name.namespace}-{name.name}",
            url="",
            dead_letters="",
            replies=ingress.topic,
            ordered=order == "ordered",
            filters=_filters(spec),
        ),
        spec.mapping("subscriber", required=True),
        chosen if chosen.value else spec.replaced(usual, "delivery"),
        reading,
    )


def _deliver(delivery: Delivery, sink: Place, policy: Place, reading: Reading) -> None:
    attempts = policy.whole("retry", 0) + 1
    backoff = policy.text("backoffPolicy", "exponential")
    if backoff not in ("linear", "exponential"):
        policy.at("backoffPolicy").fault(f"is {backoff!r}, not linear or exponential")
    for field in ("retryAfterMax", "format", "backoffMax"):
        if field in policy.value:
            reading.ignored.append(f"{policy.at(field).path}: Knative's Kafka data plane does not read it either")
    delivery = replace(
        delivery,
        url=_destination(sink, delivery.name, reading),
        attempts=attempts,
        backoff="linear" if backoff == "linear" else "exponential",
        delay=_seconds(policy, "backoffDelay", _USUAL_DELAY),
        timeout=_seconds(policy, "timeout", 600.0),
        dead_letters=f"knative-dead-letters-{delivery.name.namespace}-{delivery.name.name}",
    )
    letters = policy.mapping("deadLetterSink")
    reading.wanted_topics.append(Topic(delivery.dead_letters, 1))
    reading.deliveries.append(delivery)
    if letters.value:
        _deliver_letters(delivery, letters, reading)


def _deliver_letters(of: Delivery, sink: Place, reading: Reading) -> None:
    """What was given up goes on from a topic of its own, so that a receiver that is away loses none."""
    reading.deliveries.append(
        Delivery(
            name=Name(of.name.namespace, f"{of.name.name}-dead-letters"),
            kind=of.kind,
            topic=of.dead_letters,
            group=f"{of.group}-dead-letters",
            url=_destination(sink, of.name, reading),
            dead_letters=f"{of.dead_letters}-undelivered",
            attempts=11,
        )
    )
    reading.wanted_topics.append(Topic(f"{of.dead_letters}-undelivered", 1))


def _destination(sink: Place, owner: Name, reading: Reading) -> str:
    """The URL of a destination, as inside a cluster: of a reference, of an address, or of both."""
    uri, reference = sink.text("uri", ""), sink.mapping("ref")
    if not reference.value:
        if not uri:
            sink.fault("has neither ref nor uri")
        return uri
    kind, wanted = reference.text("kind"), Name(reference.text("namespace", owner.namespace), reference.text("name"))
    path = uri if uri.startswith("/") or not uri else f"/{uri}"
    if kind in _ADDRESSED:
        reading.wanted_destinations.append((reference, kind, wanted))
        return f"http://{wanted.name}.{wanted.namespace}.svc.cluster.local{path}"
    if kind in ("Broker", "KafkaSink"):
        reading.wanted_destinations.append((reference, kind, wanted))
        ingress = BROKER_INGRESS if kind == "Broker" else SINK_INGRESS
        return f"http://{ingress.name}.{ingress.namespace}.svc.cluster.local/{wanted.namespace}/{wanted.name}{path}"
    reference.at("kind").fault(f"is {kind!r}; events go to an InferenceService, Service, Broker or KafkaSink here")
    return ""


def _known(reading: Reading) -> dict[str, set[Name]]:
    routed = {name for route in reading.routes for name in route.names}
    led = {name for workload in reading.workloads for name, _ in workload.addresses}
    return {
        "InferenceService": routed,
        "Service": routed | led,
        "Broker": {each.name for each in reading.ingresses if each.kind == "broker"},
        "KafkaSink": {each.name for each in reading.ingresses if each.kind == "sink"},
    }


def _filters(spec: Place) -> tuple[dict[str, Any], ...]:
    """Of the newer field, which replaces the older; an empty value of the older matches anything, as in Knative."""
    newer = spec.items("filters")
    attributes = spec.mapping("filter").mapping("attributes")
    exact = {name: attributes.text(name) for name in attributes.value if attributes.text(name)}
    found: list[dict[str, Any]] = [each.value for each in newer] or ([{"exact": exact}] if exact else [])
    try:
        compile_filters(found)
    except FilterError as fault:
        spec.at("filters" if newer else "filter").fault(f"is wrong: {'; '.join(fault.problems)}")
        return ()
    return tuple(found)


def _extensions(spec: Place) -> dict[str, str]:
    extensions = spec.mapping("ceOverrides").mapping("extensions")
    return {name: extensions.text(name) for name in extensions.value}


def _variables(spec: Place, name: Name, reading: Reading) -> dict[str, str]:
    overrides = {"extensions": _extensions(spec)}
    return {
        "K_SINK": _destination(spec.mapping("sink", required=True), name, reading),
        **({"K_CE_OVERRIDES": json.dumps(overrides)} if overrides["extensions"] else {}),
    }


def _bind(binding: Binding, reading: Reading) -> None:
    if binding.kind == "Service":
        _bind_services(binding, reading)
        return
    found = False
    for place, workload in enumerate(reading.workloads):
        labels = reading.pods.get(workload.owner, {})
        by_labels = binding.labels and all(labels.get(key) == value for key, value in binding.labels.items())
        if workload.owner == binding.name or (by_labels and workload.owner.namespace == binding.name.namespace):
            found = True
            reading.workloads[place] = replace(workload, container=_with(workload.container, binding.variables))
    if not found:
        binding.place.fault(f"names {binding.kind} {binding.name.name or binding.labels}, none of these manifests")


def _bind_services(binding: Binding, reading: Reading) -> None:
    for place, service in enumerate(reading.services):
        if Name(service.name.namespace, service.knative_name) == binding.name:
            reading.services[place] = replace(service, container=_with(service.container, binding.variables))
            return
    binding.place.fault(f"names Service {binding.name}, none of these manifests")


def _with(container: Container, variables: dict[str, str]) -> Container:
    return replace(container, environment={**container.environment, **variables})


def _seconds(place: Place, key: str, default: float) -> float:
    """An ISO 8601 duration of hours, minutes and seconds."""
    found = place.at(key)
    if found.value is None:
        return default
    parts = _DURATION.match(str(found.value))
    if not parts or not any(parts.groups()):
        found.fault(f"is {found.value!r}, not a duration such as 'PT0.5S'")
        return default
    hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    return hours * 3600 + minutes * 60 + seconds
