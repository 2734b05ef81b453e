"""Deployments, how KEDA scales them, and the Services that lead to them -> processes that are always up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from headrace.local.containers import ContainerReader
from headrace.local.ignored import OF_A_DEPLOYMENT, note
from headrace.local.lag import LagRule
from headrace.local.resources import LagScaling, Name, Workload

if TYPE_CHECKING:
    from headrace.local.place import Place
    from headrace.local.reading import Reading

COLLECTOR = "collector"
"""The component (``app.kubernetes.io/component``) whose work the twin's own trace store does."""
_GRACE = 30


def deployment(name: Name, place: Place, reading: Reading) -> None:
    """One process for each container."""
    component = place.mapping("metadata").mapping("labels").text("app.kubernetes.io/component", "")
    if component == COLLECTOR:
        reading.skipped.append(f"{place.path.removesuffix(': ')}: spans go to the twin's own trace store")
        reading.collectors.add(f"http://{name.name}.{name.namespace}.svc.")
        return
    spec = place.mapping("spec", required=True)
    note(spec, OF_A_DEPLOYMENT, reading.ignored)
    if spec.whole("replicas", 1) > 1:
        reading.ignored.append(f"{spec.path}.replicas: one process runs here")
    template = spec.mapping("template", required=True)
    reading.pods[name] = _labels(template.mapping("metadata"))
    add_pod(name, template.mapping("spec", required=True), reading)


def add_pod(name: Name, pod: Place, reading: Reading, variables: dict[str, str] | None = None) -> None:
    """The containers of a pod as workloads, with these variables on top."""
    reader = ContainerReader(name, pod, reading)
    containers = pod.items("containers", required=True)
    grace = pod.whole("terminationGracePeriodSeconds", _GRACE)
    for entry in containers:
        own = name if len(containers) == 1 else Name(name.namespace, f"{name.name}-{entry.text('name')}")
        container = reader.read(entry)
        if variables:
            container = replace(container, environment={**container.environment, **variables})
        reading.workloads.append(Workload(own, container, grace, owner=name))


def kubernetes_service(name: Name, place: Place, reading: Reading) -> None:
    """Kept until every Deployment is known."""
    reading.selectors.append((name, place))


def scaled_object(name: Name, place: Place, reading: Reading) -> None:
    """KEDA's rule for a Deployment that reads Kafka: followed where the twin is told to, else named."""
    subject = place.path.removesuffix(": ")
    spec = place.mapping("spec")
    triggers = spec.items("triggers")
    if len(triggers) != 1 or triggers[0].text("type", "") != "kafka":
        reading.skipped.append(f"{subject}: only the lag of one topic scales here; one process is always up")
        return
    lag, fallback = triggers[0].mapping("metadata"), spec.mapping("fallback")
    rule = LagRule(
        threshold=lag.whole("lagThreshold", 10) or 1,
        activation=lag.whole("activationLagThreshold", 0),
        minimum=spec.whole("minReplicaCount", 0),
        maximum=spec.whole("maxReplicaCount", 100),
        cooldown=float(spec.whole("cooldownPeriod", 300)),
        idle_consumers=lag.text("allowIdleConsumers", "false") == "true",
        fallback=fallback.whole("replicas", 0) if fallback.value else None,
        failures=fallback.whole("failureThreshold", 3),
    )
    workload = Name(name.namespace, spec.mapping("scaleTargetRef").text("name", ""))
    polling = float(spec.whole("pollingInterval", 30) or 30)
    topic, group = lag.text("topic", ""), lag.text("consumerGroup", "")
    reading.scalings.append(LagScaling(workload, topic, group, rule, polling))
    reading.skipped.append(f"{subject}: one dispatcher is always up here, whatever the lag")


def finish(reading: Reading) -> None:
    """Give each Service's name to the Deployment that it selects."""
    for name, place in reading.selectors:
        spec = place.mapping("spec")
        selector = {str(key): str(value) for key, value in spec.mapping("selector").value.items()}
        owner = next((owner for owner in reading.pods if _matches(owner, name, selector, reading)), None)
        if owner is None:
            reading.skipped.append(f"{place.path.removesuffix(': ')}: it selects no Deployment of these manifests")
            continue
        ports = spec.items("ports")
        target = ports[0].at("targetPort").value if ports else None
        number = ports[0].whole("port", 80) if ports else 80
        _lead(reading, owner, name, target if isinstance(target, int) else 0 if isinstance(target, str) else number)


def _matches(owner: Name, service: Name, selector: dict[str, str], reading: Reading) -> bool:
    labels = reading.pods[owner]
    same = owner.namespace == service.namespace
    return same and bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def _lead(reading: Reading, owner: Name, service: Name, port: int) -> None:
    """To the container that has this port; one that is named is taken for the first one's."""
    own = [place for place, workload in enumerate(reading.workloads) if workload.owner == owner]
    chosen = next((place for place in own if port in reading.workloads[place].container.ports), own[0] if own else None)
    if chosen is not None:
        workload = reading.workloads[chosen]
        container = workload.container
        if port and port not in container.ports:
            container = replace(container, ports=container.ports | {port}, port=port)
        number = port or container.port
        reading.workloads[chosen] = replace(
            workload, container=container, addresses=(*workload.addresses, (service, number))
        )


def _labels(metadata: Place) -> dict[str, str]:
    return {str(key): str(value) for key, value in metadata.mapping("labels").value.items()}
