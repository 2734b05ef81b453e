"""What rendering needs to know about the cluster, and the app spec does not say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata

PLACEHOLDER_IMAGE = "registry.example.com/headrace"
"""Stands where no image is named. It is nobody's on purpose: a cluster says so, and never runs a stranger's."""
_STRIMZI = re.compile(r"(?P<cluster>[a-z0-9.-]+)-kafka-bootstrap\.(?P<namespace>[a-z0-9-]+)\.svc(\.[a-z0-9.-]+)?:\d+\Z")


@dataclass(frozen=True, slots=True)
class Strimzi:
    """The Strimzi cluster whose operator makes the topics."""

    cluster: str = "kafka"
    """Name of the ``Kafka`` resource."""
    namespace: str = "kafka"
    """Where it lives: its operator looks for topics there alone."""


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """The cluster that the manifests are for."""

    image: str = PLACEHOLDER_IMAGE
    """Image of the dispatcher, and of every container whose app names none."""
    kafka: str = "kafka-kafka-bootstrap.kafka.svc:9092"
    """Bootstrap servers, ``HOST:PORT[,HOST:PORT...]``."""
    strimzi: Strimzi | None = Strimzi()
    """Who makes topics; None renders none."""


def default_image() -> str:
    """The placeholder image with this release's tag."""
    return f"{PLACEHOLDER_IMAGE}:{metadata.version('headrace')}"


def strimzi_of(kafka: str) -> Strimzi | None:
    """The Strimzi cluster that a bootstrap address belongs to; None for any other Kafka."""
    match = _STRIMZI.match(kafka.partition(",")[0])
    return Strimzi(match["cluster"], match["namespace"]) if match else None
