"""Kubernetes resources -> the plan of what runs here. Pure: nothing is started, no file is written."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from headrace.errors import ConfigurationError
from headrace.local.containers import NOTHING, ContainerReader
from headrace.local.place import Place
from headrace.local.resources import Limits, Name, Plan, Route, Service, Share, Topic, Workload
from headrace.local.scale import CONFIG, Defaults, kserve_wishes, read_defaults, read_scale

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headrace.local.containers import Container

REASONS = {
    "ScaledObject": "one dispatcher is always up here, whatever the lag",
    "TriggerAuthentication": "the twin's Kafka asks for no credentials",
    "Secret": "containers inherit the variables of your shell instead",
}
"""Kinds that need not run here, and why."""
_GROUPS = {
    "InferenceService": "serving.kserve.io",
    "Deployment": "apps",
    "ConfigMap": "",
    "KafkaTopic": "kafka.strimzi.io",
}
COLLECTOR = "collector"
"""The component (``app.kubernetes.io/component``) whose work the twin's own trace store does."""
_COLLECTED_AT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_DEFAULT_GRACE = 30
_DEFAULT_TIMEOUT = 300


@dataclass(slots=True)
class _Reading:
    services: list[Service] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    workloads: list[Workload] = field(default_factory=list)
    topics: list[Topic] = field(default_factory=list)
    config_maps: dict[Name, dict[str, bytes]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    defaults: Defaults = field(default_factory=Defaults)
    collectors: set[str] = field(default_factory=set)
    """Addresses, ``http://NAME.NAMESPACE.svc.``, of the collectors that do not run here."""


def plan(resources: Sequence[Mapping[str, Any]]) -> Plan:
    """What these resources mean on this machine, in their order.

    Raises:
        ConfigurationError: fields are missing or wrong, or two resources have one name; every fault is named.
    """
    problems: list[str] = []
    places = [_resource(position, document, problems) for position, document in enumerate(resources)]
    reading = _Reading()
    # ConfigMaps first: the others refer to them, in whatever order they stand.
    first = [place for place in places if place.value.get("kind") == "ConfigMap"]
    for place in first:
        _read(place, reading)
    reading.defaults = read_defaults(reading.config_maps.get(CONFIG), problems)
    for place in places:
        if place not in first:
            _read(place, reading)
    problems += _doubles(reading)
    if problems:
        raise ConfigurationError(
            f"These manifests cannot run here: {len(problems)} mistake{'s' if len(problems) > 1 else ''}",
            problems=tuple(problems),
        )
    return Plan(
        services=tuple(replace(each, container=_told(each.container, reading)) for each in reading.services),
        routes=tuple(reading.routes),
        workloads=tuple(replace(each, container=_told(each.container, reading)) for each in reading.workloads),
        topics=tuple(reading.topics),
        config_maps=reading.config_maps,
        skipped=tuple(reading.skipped),
    )


def topics_of(resources: Sequence[Mapping[str, Any]]) -> tuple[Topic, ...]:
    """The Kafka topics among these resources.

    Raises:
        ConfigurationError: as :func:`plan`.
    """
    return plan([document for document in resources if document.get("kind") == "KafkaTopic"]).topics


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


def _read(place: Place, reading: _Reading) -> None:
    kind = place.text("kind", "")
    reader = _READERS.get(kind)
    if reader is None or place.text("apiVersion", "").rpartition("/")[0] != _GROUPS[kind]:
        if kind:
            reason = REASONS.get(kind, "this kind means nothing to the local twin")
            reading.skipped.append(f"{place.path.removesuffix(': ')}: {reason}")
        return
    metadata = place.mapping("metadata", required=True)
    reader(Name(metadata.text("namespace", "default"), metadata.text("name")), place, reading)


def _config_map(name: Name, place: Place, reading: _Reading) -> None:
    data = place.mapping("data")
    files = {key: data.text(key, "").encode() for key in data.value}
    binary = place.mapping("binaryData")
    files.update({key: _decoded(binary, key) for key in binary.value})
    for key in files:
        if "/" in key or key in (".", ".."):
            data.at(key).fault("is no file name")
    reading.config_maps[name] = files


def _decoded(binary: Place, key: str) -> bytes:
    try:
        return base64.b64decode(binary.text(key), validate=True)
    except binascii.Error:
        binary.at(key).fault("is not base64")
        return b""


def _topic(name: Name, place: Place, reading: _Reading) -> None:
    spec = place.mapping("spec")
    config = spec.mapping("config")
    reading.topics.append(
        Topic(
            spec.text("topicName", name.name),
            spec.whole("partitions", 1) or 1,
            {key: config.text(key) for key in config.value},
        )
    )


def _deployment(name: Name, place: Place, reading: _Reading) -> None:
    component = place.mapping("metadata").mapping("labels").text("app.kubernetes.io/component", "")
    if component == COLLECTOR:
        reading.skipped.append(f"{place.path.removesuffix(': ')}: spans go to the twin's own trace store")
        reading.collectors.add(f"http://{name.name}.{name.namespace}.svc.")
        return
    template = place.mapping("spec", required=True).mapping("template", required=True)
    pod = template.mapping("spec", required=True)
    reader = ContainerReader(name, pod, reading.config_maps, reading.skipped)
    containers = pod.items("containers", required=True)
    for entry in containers:
        own = name if len(containers) == 1 else Name(name.namespace, f"{name.name}-{entry.text('name')}")
        grace = pod.whole("terminationGracePeriodSeconds", _DEFAULT_GRACE)
        reading.workloads.append(Workload(own, reader.read(entry), grace))


def _told(container: Container, reading: _Reading) -> Container:
    """The container without the address of a collector that does not run here: it would try that for ever."""
    address = container.environment.get(_COLLECTED_AT, "")
    if not any(address.startswith(collector) for collector in reading.collectors):
        return container
    return replace(container, environment={k: v for k, v in container.environment.items() if k != _COLLECTED_AT})


def _inference_service(name: Name, place: Place, reading: _Reading) -> None:
    spec = place.mapping("spec", required=True)
    spec.mapping("predictor", required=True)
    annotations = place.mapping("metadata").mapping("annotations").value
    roles = ["predictor", *(["transformer"] if spec.at("transformer").value is not None else [])]
    for role in roles:
        component = spec.mapping(role)
        merged = {**annotations, **component.mapping("annotations").value}
        noted = Place(f"{component.path}.annotations", merged, place.problems)
        reading.services.append(
            Service(
                name=Name(name.namespace, f"{name.name}-{role}"),
                app=name.name,
                role=role,
                container=_serving_container(name, component, reading),
                scale=read_scale(kserve_wishes(component), noted, reading.skipped, reading.defaults),
                limits=_kserve_limits(component),
                deadline=noted.seconds("serving.knative.dev/progress-deadline", 0) or None,
            )
        )

        own = Name(name.namespace, f"{name.name}-{role}")
        # The outermost component has the InferenceService's own name as well.
        reading.routes.append(Route((own, name) if role == roles[-1] else (own,), (Share(own),)))


def _kserve_limits(component: Place) -> Limits:
    """KServe sets one of Knative's three timeouts; the response may begin as late as it may end."""
    total = component.number("timeout", _DEFAULT_TIMEOUT)
    return Limits(total, start=max(total, _DEFAULT_TIMEOUT))


def _serving_container(name: Name, component: Place, reading: _Reading) -> Container:
    containers = component.items("containers", required=True)
    if component.at("containers").value == []:
        component.at("containers").fault("is empty")
    # The others of the pod (KServe's colocated ones) stand beside it, and nothing here sends them requests.
    containers.sort(key=lambda entry: entry.value.get("name") != "kserve-container")
    reading.skipped += [f"{entry.path}: one container a component runs here" for entry in containers[1:]]
    reader = ContainerReader(name, component, reading.config_maps, reading.skipped)
    return reader.read(containers[0]) if containers else NOTHING


def _doubles(reading: _Reading) -> list[str]:
    seen: set[Name] = set()
    problems = []
    for name in [name for route in reading.routes for name in route.names]:
        if name in seen:
            problems.append(f"Two services are called {name}: their requests could not be told apart")
        seen.add(name)
    return problems


_READERS: dict[str, Callable[[Name, Place, _Reading], None]] = {
    "ConfigMap": _config_map,
    "KafkaTopic": _topic,
    "Deployment": _deployment,
    "InferenceService": _inference_service,
}
