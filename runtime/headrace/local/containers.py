"""A container of a pod, as far as a process can be one: command, environment, ports, mounted files, readiness."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from headrace.local.resources import Name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.local.place import Place

DEFAULT_PORT = 8080
_PORT_FLAG = re.compile(r"--[\w-]*port(?:=(\d+))?\Z")


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder or file of the container that is one of the run directory here."""

    path: str
    """In the container."""
    config_map: Name | None
    """Whose files lie there; None is an empty folder."""
    volume: str
    """The volume's name, of an empty folder with its owner's."""
    file: str = ""
    """The one file of the ConfigMap that is mounted (``subPath``); empty is the whole folder."""


@dataclass(frozen=True, slots=True)
class Container:
    """What is run."""

    command: tuple[str, ...]
    args: tuple[str, ...]
    environment: Mapping[str, str]
    """In the order written: later values may refer to earlier ones as ``$(NAME)``."""
    fields: Mapping[str, Literal["metadata.name", "metadata.namespace"]]
    """Variables that take the pod's own name or namespace (downward API)."""
    port: int
    """The port that requests go to."""
    ports: frozenset[int]
    """Every port that it listens on, as far as the manifest tells."""
    mounts: tuple[Mount, ...]
    probe_path: str
    """Where an HTTP GET tells readiness; empty: a TCP connection does, as Knative has it."""
    http2_port: int = 0
    """The port that HTTP/2 and gRPC go to (``h2c``); 0 is none."""


NOTHING = Container((), (), {}, {}, DEFAULT_PORT, frozenset(), (), "")
"""Stands where none could be read; the faults noted on the way keep it from ever running."""


class ContainerReader:
    """Reads containers of one pod specification.

    Args:
        owner: The resource that the pod is of.
        pod: Its pod specification.
        config_maps: Every ConfigMap of the manifests.
        skipped: Where what does not run here is noted.
    """

    def __init__(
        self, owner: Name, pod: Place, config_maps: Mapping[Name, Mapping[str, bytes]], skipped: list[str]
    ) -> None:
        self._owner = owner
        self._config_maps = config_maps
        self._skipped = skipped
        self._volumes = {volume.text("name"): volume for volume in pod.items("volumes")}

    def read(self, place: Place) -> Container:
        """The container at ``place``; faults are noted there."""
        command = place.texts("command")
        if not command:
            place.at("command").fault("is missing: without a command only an image could run, and none does here")
        args = place.texts("args")
        environment, fields = self._environment(place)
        port, ports = _ports(place, args, environment)
        spoken = [
            entry for entry in place.items("ports") if entry.text("name", "").partition("-")[0] in ("h2c", "grpc")
        ]
        return Container(
            command=command,
            args=args,
            environment=environment,
            fields=fields,
            port=port,
            ports=ports,
            mounts=tuple(mount for entry in place.items("volumeMounts") if (mount := self._mount(entry))),
            probe_path=_probe_path(place),
            http2_port=spoken[0].whole("containerPort", DEFAULT_PORT) if spoken else 0,
        )

    def _environment(
        self, place: Place
    ) -> tuple[dict[str, str], dict[str, Literal["metadata.name", "metadata.namespace"]]]:
        values: dict[str, str] = {}
        fields: dict[str, Literal["metadata.name", "metadata.namespace"]] = {}
        for source in place.items("envFrom"):
            values.update(self._all_of(source))
        for entry in place.items("env"):
            name = entry.text("name")
            origin = entry.mapping("valueFrom")
            if not origin.value:
                values[name] = entry.text("value", "")
                continue
            field = origin.mapping("fieldRef").text("fieldPath", "")
            if field in ("metadata.name", "metadata.namespace"):
                fields[name] = field  # type: ignore[assignment]  # mypy does not narrow by `in` a tuple of literals
            elif (value := self._value_from(origin)) is not None:
                values[name] = value
            else:
                self._skipped.append(f"{entry.path} '{name}': its valueFrom has no source on this machine")
        return values, fields

    def _all_of(self, source: Place) -> dict[str, str]:
        reference = source.mapping("configMapRef")
        if not reference.value:
            self._skipped.append(f"{source.path}: only ConfigMaps of these manifests are read here")
            return {}
        files = self._config_maps.get(Name(self._owner.namespace, reference.text("name")))
        if files is None:
            reference.fault("names no ConfigMap of these manifests")
            return {}
        return {source.text("prefix", "") + key: value.decode() for key, value in files.items()}

    def _value_from(self, origin: Place) -> str | None:
        reference = origin.mapping("configMapKeyRef")
        files = self._config_maps.get(Name(self._owner.namespace, reference.text("name", "")), {})
        value = files.get(reference.text("key", ""))
        return None if value is None else value.decode()

    def _mount(self, entry: Place) -> Mount | None:
        path, name = entry.text("mountPath").rstrip("/"), entry.text("name")
        volume = self._volumes.get(name)
        if volume is None:
            entry.fault(f"names volume '{name}', which the pod does not have")
            return None
        if "emptyDir" in volume.value:
            return Mount(path, None, f"{self._owner.name}-{name}")
        if "configMap" not in volume.value:
            self._skipped.append(f"{volume.path} '{name}': only ConfigMaps and empty folders are mounted here")
            return None
        config_map = Name(self._owner.namespace, volume.mapping("configMap").text("name"))
        if config_map not in self._config_maps:
            volume.at("configMap").fault(f"names '{config_map.name}', no ConfigMap of these manifests")
        return Mount(path, config_map, name, entry.text("subPath", ""))


def _ports(place: Place, args: tuple[str, ...], environment: Mapping[str, str]) -> tuple[int, frozenset[int]]:
    declared = [entry.whole("containerPort", DEFAULT_PORT) for entry in place.items("ports")]
    flags = _flag_ports(args)
    probed = place.mapping("readinessProbe").mapping("httpGet").at("port").value
    own = environment.get("PORT", "")
    candidates = (
        probed if isinstance(probed, int) and probed else None,
        flags.get("--http-port") or flags.get("--http_port"),
        int(own) if own.isdecimal() else None,
        declared[0] if declared else None,
        DEFAULT_PORT,
    )
    port = next(candidate for candidate in candidates if candidate)
    return port, frozenset({port, *declared, *flags.values()})


def _flag_ports(args: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for position, arg in enumerate(args):
        if not (flag := _PORT_FLAG.match(arg)):
            continue
        value = flag[1] or (args[position + 1] if position + 1 < len(args) else "")
        if value.isdecimal() and int(value):
            found[arg.partition("=")[0]] = int(value)
    return found


def _probe_path(place: Place) -> str:
    probe = place.mapping("readinessProbe")
    return probe.mapping("httpGet").text("path", "/") if "httpGet" in probe.value else ""
