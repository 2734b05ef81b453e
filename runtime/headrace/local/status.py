"""What the twin runs, as values: the answer of ``GET /`` at the ingress, and the events on the way there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import orjson

from headrace.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

ReplicaState = Literal["starting", "ready", "unready", "suspect", "draining"]
Happening = Literal["starting", "ready", "stopping", "stopped", "died", "failed", "skipped", "ignored", "note"]


@dataclass(frozen=True, slots=True)
class TwinEvent:
    """Something that happened, for a person who looks on."""

    kind: Happening
    """``failed``: given up for now; ``skipped``: a resource that does not run here; ``ignored``: a field that does
    nothing here; ``note``: anything else."""
    subject: str
    """``namespace/name`` of the service or Deployment, or ``kafka``."""
    replica: str = ""
    seconds: float = 0.0
    """How long the start took (``ready``), the drain (``stopped``), or the life (``died``)."""
    detail: str = ""
    """The reason, or the last line that the process wrote."""


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One process of a service."""

    name: str
    state: ReplicaState
    pid: int
    port: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """A predictor or transformer."""

    namespace: str
    name: str
    app: str
    """The InferenceService that it belongs to."""
    url: str
    """Its own loopback address: ``http://127.0.0.1:PORT``."""
    hosts: tuple[str, ...]
    """Names that the ingress knows it by."""
    desired: int
    replicas: tuple[ReplicaStatus, ...]
    in_flight: int
    """Requests at a replica."""
    queued: int
    """Requests that wait for one."""
    cold_start: float | None
    """Seconds of the last start, from the process to readiness; None before the first."""
    problem: str
    """Why it does not start; empty when all is well."""
    why: str = ""
    """The numbers behind the autoscaler's last decision; empty at rest at zero."""


@dataclass(frozen=True, slots=True)
class WorkloadStatus:
    """A Deployment's container: the dispatcher."""

    namespace: str
    name: str
    state: Literal["running", "restarting", "stopped"]
    pid: int | None
    restarts: int
    problem: str
    """The last line before it died; empty when it never did."""
    paused: bool = False
    """Whether `headrace pause` holds its events back."""


@dataclass(frozen=True, slots=True)
class TwinStatus:
    """All of one twin."""

    ingress: str
    kafka: str
    otlp: str
    services: tuple[ServiceStatus, ...]
    workloads: tuple[WorkloadStatus, ...]
    skipped: tuple[str, ...]
    """Resources that do not run here, each with the reason."""

    otlp_rpc: str = ""
    """Base URL for OTLP over gRPC."""

    def to_json(self) -> bytes:
        """The answer of ``GET /``."""
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2)

    @classmethod
    def from_json(cls, content: bytes) -> TwinStatus:
        """The status of such an answer.

        Raises:
            UnavailableError: it is no answer of a twin.
        """
        try:
            document: dict[str, Any] = orjson.loads(content)
            return cls(
                ingress=document["ingress"],
                kafka=document["kafka"],
                otlp=document["otlp"],
                otlp_rpc=document.get("otlp_rpc", ""),
                services=tuple(_service(service) for service in document["services"]),
                workloads=tuple(WorkloadStatus(**workload) for workload in document["workloads"]),
                skipped=tuple(document["skipped"]),
            )
        except (orjson.JSONDecodeError, KeyError, TypeError) as fault:
            raise UnavailableError(f"The answer is not a twin's status: {fault}") from fault


def _service(document: Mapping[str, Any]) -> ServiceStatus:
    replicas = tuple(ReplicaStatus(**replica) for replica in document["replicas"])
    return ServiceStatus(**{**document, "hosts": tuple(document["hosts"]), "replicas": replicas})
