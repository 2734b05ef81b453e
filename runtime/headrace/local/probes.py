"""Probes of a container, as Kubernetes has them: how it is asked, and what follows from the answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.local.place import Place


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe; times in seconds."""

    kind: Literal["http", "tcp", "exec"] = "tcp"
    port: int = 0
    """In the container; 0 is the port that requests go to."""
    path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    delay: float = 0.0
    """Before the first one (``initialDelaySeconds``)."""
    period: float = 10.0
    timeout: float = 1.0
    failures: int = 3
    """In a row, until it counts as failed."""


USUAL = Probe()
"""Where a container has no readiness probe: a TCP connection to its port, as Knative adds it."""


def read_probe(container: Place, key: str, ports: Mapping[str, int], skipped: list[str]) -> Probe | None:
    """The probe under ``key``; None where there is none.

    Args:
        container: The container.
        key: ``readinessProbe`` and its like.
        ports: Its ports by name.
        skipped: Where what does not work here is noted.
    """
    place = container.mapping(key)
    if not place.value:
        return None
    times = {
        "delay": float(place.whole("initialDelaySeconds", 0)),
        # Knative writes 0 for its own quick way of probing.
        "period": float(place.whole("periodSeconds", 10) or 10),
        "timeout": float(place.whole("timeoutSeconds", 1) or 1),
        "failures": place.whole("failureThreshold", 3) or 3,
    }
    if "exec" in place.value:
        return Probe("exec", command=place.mapping("exec").texts("command"), **times)  # type: ignore[arg-type]  # by name
    if "httpGet" in place.value:
        http = place.mapping("httpGet")
        headers = {each.text("name"): each.text("value", "") for each in http.items("httpHeaders")}
        if http.text("scheme", "HTTP").upper() != "HTTP":
            skipped.append(f"{http.path}.scheme: asked without TLS here")
        return Probe("http", _port(http, ports), http.text("path", "/"), headers, **times)  # type: ignore[arg-type]  # as above
    if "grpc" in place.value:
        skipped.append(f"{place.path}.grpc: a TCP connection tells it here")
        return Probe("tcp", _port(place.mapping("grpc"), ports), **times)  # type: ignore[arg-type]  # as above
    return Probe("tcp", _port(place.mapping("tcpSocket"), ports), **times)  # type: ignore[arg-type]  # as above


def _port(place: Place, ports: Mapping[str, int]) -> int:
    value = place.at("port").value
    if isinstance(value, str) and not value.isdecimal():
        if value not in ports:
            place.at("port").fault(f"is {value!r}, a name that no port of the container has")
        return ports.get(value, 0)
    return place.whole("port", 0)
