"""Kubernetes resources -> the plan of what runs here. Pure: nothing is started, no file is written."""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headrace.errors import ConfigurationError
from headrace.local import plan_eventing, plan_serving, plan_workloads
from headrace.local.place import Place
from headrace.local.reading import Reading
from headrace.local.resources import Name, Plan, Topic
from headrace.local.scale import CONFIG, read_defaults

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headrace.local.containers import Container

REASONS = {
    "TriggerAuthentication": "the twin's Kafka asks for no credentials",
}
"""Kinds that need not run here, and why."""
_COLLECTED_AT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def plan(resources: Sequence[Mapping[str, Any]]) -> Plan:
    """What these resources mean on this machine, in their order.

    Raises:
        ConfigurationError: fields are missing or wrong, or two resources have one name; every fault is named.
    """
    problems: list[str] = []
    places = [_resource(position, document, problems) for position, document in enumerate(resources)]
    reading = Reading()
    # ConfigMaps and Secrets first: the others refer to them, in whatever order they stand.
    for place in sorted(places, key=lambda place: place.value.get("kind") not in ("ConfigMap", "Secret")):
        if place.value.get("kind") not in ("ConfigMap", "Secret"):
            break
        _read(place, reading)
    reading.defaults = read_defaults(reading.config_maps.get(CONFIG), problems)
    for place in places:
        if place.value.get("kind") not in ("ConfigMap", "Secret"):
            _read(place, reading)
    plan_serving.finish(reading)
    plan_workloads.finish(reading)
    plan_eventing.finish(reading)
    problems += _doubles(reading)
    if problems:
        raise ConfigurationError(
            f"These manifests cannot run here: {len(problems)} mistake{'s' if len(problems) > 1 else ''}",
            problems=tuple(problems),
        )
    return _planned(reading)


def topics_of(resources: Sequence[Mapping[str, Any]]) -> tuple[Topic, ...]:
    """The Kafka topics among these resources.

    Raises:
        ConfigurationError: as :func:`plan`.
    """
    return plan([document for document in resources if document.get("kind") == "KafkaTopic"]).topics


def _planned(reading: Reading) -> Plan:
    declared = {topic.name for topic in reading.topics}
    wanted = {topic.name: topic for topic in reading.wanted_topics if topic.name not in declared}
    return Plan(
        services=tuple(
            replace(
                each,
                container=_told(each.container, reading),
                beside=tuple(_told(beside, reading) for beside in each.beside),
            )
            for each in reading.services
        ),
        routes=tuple(reading.routes),
        workloads=tuple(replace(each, container=_told(each.container, reading)) for each in reading.workloads),
        topics=(*reading.topics, *wanted.values()),
        folders=reading.folders,
        ingresses=tuple(reading.ingresses),
        deliveries=tuple(reading.deliveries),
        scalings=tuple(reading.scalings),
        skipped=tuple(reading.skipped),
        ignored=tuple(dict.fromkeys(reading.ignored)),
    )


def _resource(position: int, document: Any, problems: list[str]) -> Place:
    if not isinstance(document, dict):
        problems.append(f"Resource {position} is {document!r}, not a mapping")
        return Place(f"Resource {position}: ", {}, problems)
    kind = document.get("kind")
    if not kind:
        problems.append(f"Resource {position} has no kind")
    metadata = document.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    name = f"{known.get('namespace', 'default')}/{known.get('name', '?')}"
    return Place(f"{kind} {name}: ", document, problems)


def _read(place: Place, reading: Reading) -> None:
    kind, group = place.text("kind", ""), place.text("apiVersion", "").rpartition("/")[0]
    reader = _READERS.get((group, kind))
    if reader is None:
        if kind:
            reason = REASONS.get(kind, "this kind means nothing to the local twin")
            reading.skipped.append(f"{place.path.removesuffix(': ')}: {reason}")
        return
    metadata = place.mapping("metadata", required=True)
    reader(Name(metadata.text("namespace", "default"), metadata.text("name")), place, reading)


def _config_map(name: Name, place: Place, reading: Reading) -> None:
    data = place.mapping("data")
    files = {key: data.text(key, "").encode() for key in data.value}
    binary = place.mapping("binaryData")
    files.update({key: _decoded(binary, key) for key in binary.value})
    reading.config_maps[name] = _checked(files, data)


def _secret(name: Name, place: Place, reading: Reading) -> None:
    data, plain = place.mapping("data"), place.mapping("stringData")
    files = {key: _decoded(data, key) for key in data.value}
    files.update({key: plain.text(key, "").encode() for key in plain.value})
    reading.secrets[name] = _checked(files, data)


def _checked(files: dict[str, bytes], data: Place) -> dict[str, bytes]:
    for key in files:
        if "/" in key or key in (".", ".."):
            data.at(key).fault("is no file name")
    return files


def _decoded(binary: Place, key: str) -> bytes:
    try:
        return base64.b64decode("".join(binary.text(key).split()), validate=True)
    except binascii.Error:
        binary.at(key).fault("is not base64")
        return b""


def _topic(name: Name, place: Place, reading: Reading) -> None:
    spec = place.mapping("spec")
    config = spec.mapping("config")
    reading.topics.append(
        Topic(
            spec.text("topicName", name.name),
            spec.whole("partitions", 1) or 1,
            {key: config.text(key) for key in config.value},
        )
    )


def _told(container: Container, reading: Reading) -> Container:
    """The container without the address of a collector that does not run here: it would try that for ever."""
    address = container.environment.get(_COLLECTED_AT, "")
    if not any(address.startswith(collector) for collector in reading.collectors):
        return container
    return replace(container, environment={k: v for k, v in container.environment.items() if k != _COLLECTED_AT})


def _doubles(reading: Reading) -> list[str]:
    seen: set[Name] = set()
    problems = []
    for name in [name for route in reading.routes for name in route.names]:
        if name in seen:
            problems.append(f"Two services are called {name}: their requests could not be told apart")
        seen.add(name)
    return problems


_READERS: dict[tuple[str, str], Callable[[Name, Place, Reading], None]] = {
    ("", "ConfigMap"): _config_map,
    ("", "Secret"): _secret,
    ("", "Service"): plan_workloads.kubernetes_service,
    ("kafka.strimzi.io", "KafkaTopic"): _topic,
    ("apps", "Deployment"): plan_workloads.deployment,
    ("keda.sh", "ScaledObject"): plan_workloads.scaled_object,
    ("serving.kserve.io", "InferenceService"): plan_serving.inference_service,
    ("serving.knative.dev", "Service"): plan_serving.knative_service,
    ("sources.knative.dev", "SinkBinding"): plan_eventing.sink_binding,
    ("sources.knative.dev", "ContainerSource"): plan_eventing.container_source,
    ("sources.knative.dev", "KafkaSource"): plan_eventing.kafka_source,
    ("eventing.knative.dev", "Broker"): plan_eventing.broker,
    ("eventing.knative.dev", "Trigger"): plan_eventing.trigger,
    ("eventing.knative.dev", "KafkaSink"): plan_eventing.kafka_sink,
}
