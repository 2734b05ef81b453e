"""From the environment to a meter."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError
from headrace.telemetry.usage.record import Place
from headrace.telemetry.usage.tenant import TenantRule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.eventing.results import Responder
    from headrace.serving.metering.meter import Meter

TOPIC = "HEADRACE_USAGE_TOPIC"
"""Environment variable: Kafka topic of usage; nothing is metered without."""
TENANT = "HEADRACE_USAGE_TENANT"
"""Environment variable: where an event's tenant stands, ``attribute:NAME``, ``header:NAME`` or ``apiKey:HEADER``."""
REPLICA = "HEADRACE_REPLICA"
"""Environment variable: this replica's name, unique among all that ever were; the pod's name (``HOSTNAME``) without."""
SIZE = "HEADRACE_REPLICA_SIZE"
"""Environment variable: what the replica holds, ``cpu=2,memory=4294967296,gpu=1``."""
_USUAL_TENANT = "attribute:tenant"
_SIZES = {"cpu": "cpu", "memory": "memory_bytes", "gpu": "gpu"}


def meter_of(
    identity: Responder, component: str, *, weight: float = 1.0, environment: Mapping[str, str] = os.environ
) -> Meter | None:
    """The meter of this process; None where nothing is metered.

    Args:
        identity: Who answers.
        component: ``predictor`` or ``transformer``.
        weight: This process's part of its replica's seconds: of several workers each has one share.
        environment: Where the variables are read, those of Kafka as well.

    Raises:
        ConfigurationError: a variable is wrong.
    """
    topic = environment.get(TOPIC)
    if not topic:
        return None
    # Imported here: a server that is not metered needs no Kafka.
    from headrace.eventing.kafka.environment import kafka_settings  # noqa: PLC0415
    from headrace.eventing.kafka.outbox import Outbox  # noqa: PLC0415
    from headrace.serving.metering.meter import Meter, Metered  # noqa: PLC0415

    metered = Metered(
        place=place_of(identity, component, environment),
        revision=identity.model_version,
        model=identity.model_name,
        tenant=TenantRule.parse(environment.get(TENANT) or _USUAL_TENANT),
        weight=weight,
        started=_process_start(),
    )
    return Meter(metered, Outbox(kafka_settings(environ=environment), topic))


def place_of(identity: Responder, component: str, environment: Mapping[str, str]) -> Place:
    """The replica that this process is.

    Raises:
        ConfigurationError: its size cannot be read.
    """
    size = {}
    for part in filter(None, environment.get(SIZE, "").split(",")):
        name, _, value = part.partition("=")
        try:
            size[_SIZES[name]] = float(value)
        except (KeyError, ValueError):
            raise ConfigurationError(f"{SIZE}: {part!r} is none of cpu=, memory=, gpu= and a number") from None
    replica = environment.get(REPLICA) or environment.get("HOSTNAME") or f"process-{os.getpid()}"
    return Place(
        namespace=identity.namespace,
        app=identity.app,
        component=component,
        replica=replica,
        cpu=size.get("cpu", 0.0),
        memory_bytes=size.get("memory_bytes", 0.0),
        gpu=size.get("gpu", 0.0),
    )


def _process_start() -> float:
    """When this process began, in seconds of Unix time; where the system does not tell its age, it begins now.

    By its age since the boot: the moment of the boot itself is known to the second only, and what is made from it
    would be a second wrong.
    """
    try:
        # proc(5): the 22nd field, in ticks since the boot; the second one may hold spaces and ends with the last `)`.
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        age = 0.0
    return time.time() - max(0.0, age)
