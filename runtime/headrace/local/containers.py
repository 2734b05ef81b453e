"""A container of a pod, as far as a process can be one: command, environment, ports, mounted files, probes, memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from headrace.local.ignored import OF_A_CONTAINER, OF_A_POD, note
from headrace.local.memory import read_memory
from headrace.local.probes import Probe, read_probe
from headrace.local.resources import Name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.local.place import Place
    from headrace.local.reading import Reading

DEFAULT_PORT = 8080
_PORT_FLAG = re.compile(r"--[\w-]*port(?:=(\d+))?\Z")
_HTTP2 = ("h2c", "grpc")
"""How the name of a port begins that takes HTTP/2: Knative's word, and what others write."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder or file of the container that is one of the run directory here."""

    path: str
    """In the container."""
    folder: str
    """Below the run directory's ``mounts``."""
    file: str = ""
    """The one file of it that is mounted (``subPath``); empty is the whole folder."""


@dataclass(frozen=True, slots=True)
class Container:
    """What is run."""

    name: str
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
    readiness: Probe | None = None
    liveness: Probe | None = None
    startup: Probe | None = None
    http2_port: int = 0
    """The port that HTTP/2 and gRPC go to (``h2c``); 0 is none."""
    folder: str = ""
    """Its working folder, where it says one (``workingDir``)."""
    memory: int = 0
    """Bytes that it may use (its limit); 0 is without bound."""


NOTHING = Container("", (), (), {}, {}, DEFAULT_PORT, frozenset(), ())
"""Stands where none could be read; the faults noted on the way keep it from ever running."""


class ContainerReader:
    """Reads containers of one pod specification.

    Args:
        owner: The resource that the pod is of.
        pod: Its pod specification.
        reading: ConfigMaps and Secrets of the manifests, and where what does not run here is noted.
    """

    def __init__(self, owner: Name, pod: Place, reading: Reading) -> None:
        self._owner = owner
        self._reading = reading
        self._volumes = {volume.text("name"): volume for volume in pod.items("volumes")}
        note(pod, OF_A_POD, reading.ignored)

    def read(self, place: Place) -> Container:
        """The container at ``place``; faults are noted there."""
        note(place, OF_A_CONTAINER, self._reading.ignored)
        command = place.texts("command")
        if not command:
            place.at("command").fault("is missing: without a command only an image could run, and none does here")
        args = place.texts("args")
        environment, fields = self._environment(place)
        named = {entry.text("name", ""): entry.whole("containerPort", DEFAULT_PORT) for entry in place.items("ports")}
        probes = {key: read_probe(place, f"{key}Probe", named, self._reading.ignored) for key in _PROBES}
        port, ports = _ports(place, args, environment, probes["readiness"])
        http2 = [number for name, number in named.items() if name.partition("-")[0] in _HTTP2]
        return Container(
            name=place.text("name", ""),
            command=command,
            args=args,
            environment=environment,
            fields=fields,
            port=port,
            ports=ports,
            mounts=tuple(mount for entry in place.items("volumeMounts") if (mount := self._mount(entry))),
            **probes,
            http2_port=http2[0] if http2 else 0,
            folder=place.text("workingDir", ""),
            memory=read_memory(place),
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
                self._reading.skipped.append(f"{entry.path} '{name}': its valueFrom has no source on this machine")
        return values, fields

    def _all_of(self, source: Place) -> dict[str, str]:
        config, secret = source.mapping("configMapRef"), source.mapping("secretRef")
        reference = config if config.value else secret
        known = self._reading.config_maps if config.value else self._reading.secrets
        files = known.get(Name(self._owner.namespace, reference.text("name", "")))
        if files is None:
            if config.value and config.at("optional").value is not True:
                reference.fault("names no ConfigMap of these manifests")
            elif not config.value:
                self._reading.skipped.append(f"{source.path}: its Secret is not among these manifests")
            return {}
        return {source.text("prefix", "") + key: value.decode(errors="replace") for key, value in files.items()}

    def _value_from(self, origin: Place) -> str | None:
        for key, known in (("configMapKeyRef", self._reading.config_maps), ("secretKeyRef", self._reading.secrets)):
            reference = origin.mapping(key)
            if reference.value:
                files = known.get(Name(self._owner.namespace, reference.text("name", "")), {})
                value = files.get(reference.text("key", ""))
                return None if value is None else value.decode(errors="replace")
        return None

    def _mount(self, entry: Place) -> Mount | None:
        path, name = entry.text("mountPath").rstrip("/"), entry.text("name")
        volume = self._volumes.get(name)
        if volume is None:
            entry.fault(f"names volume '{name}', which the pod does not have")
            return None
        folder = self._folder(volume, name)
        return Mount(path, folder, entry.text("subPath", "")) if folder else None

    def _folder(self, volume: Place, name: str) -> str:
        """The folder of a volume, its files noted; empty where there is none."""
        space = self._owner.namespace
        if "emptyDir" in volume.value:
            return self._keep(f"{space}/empty/{self._owner.name}-{name}", {})
        for key, word, known, kind in (
            ("configMap", "name", self._reading.config_maps, "config"),
            ("secret", "secretName", self._reading.secrets, "secret"),
        ):
            if key in volume.value:
                source = volume.mapping(key)
                files = known.get(Name(space, source.text(word)))
                if files is None:
                    self._missing(volume, source, word)
                    return ""
                chosen = source.items("items")
                if not chosen:
                    return self._keep(f"{space}/{kind}/{source.text(word)}", files)
                picked = {each.text("path"): files.get(each.text("key"), b"") for each in chosen}
                return self._keep(f"{space}/volume/{self._owner.name}-{name}", picked)
        self._reading.skipped.append(
            f"{volume.path} '{name}': only ConfigMaps, Secrets and empty folders are mounted here"
        )
        return ""

    def _missing(self, volume: Place, source: Place, word: str) -> None:
        if word == "name" and source.at("optional").value is not True:
            source.fault(f"names '{source.text(word)}', no ConfigMap of these manifests")
        else:
            self._reading.skipped.append(f"{volume.path}: '{source.text(word)}' is not among these manifests")

    def _keep(self, folder: str, files: Mapping[str, bytes]) -> str:
        self._reading.folders.setdefault(folder, {}).update(files)
        return folder


_PROBES = ("readiness", "liveness", "startup")


def _ports(
    place: Place, args: tuple[str, ...], environment: Mapping[str, str], readiness: Probe | None
) -> tuple[int, frozenset[int]]:
    declared = [entry.whole("containerPort", DEFAULT_PORT) for entry in place.items("ports")]
    flags = _flag_ports(args)
    own = environment.get("PORT", "")
    probed = readiness.port if readiness and readiness.kind == "http" else 0
    candidates = (
        probed,
        flags.get("--http-port") or flags.get("--http_port"),
        int(own) if own.isdecimal() else None,
        declared[0] if declared else None,
        DEFAULT_PORT,
    )
    port = next(candidate for candidate in candidates if candidate)
    return port, frozenset({port, *declared, *flags.values(), *([probed] if probed else [])})


def _flag_ports(args: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for position, arg in enumerate(args):
        if not (flag := _PORT_FLAG.match(arg)):
            continue
        value = flag[1] or (args[position + 1] if position + 1 < len(args) else "")
        if value.isdecimal() and int(value):
            found[arg.partition("=")[0]] = int(value)
    return found
