"""A container of the manifests -> the command of a process on this machine: ports, addresses, mounted files."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.local.resources import Name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from headrace.local.containers import Container, Mount
    from headrace.local.resources import Service

KAFKA_VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"
_CLUSTER_HOST = re.compile(
    r"(?<![\w.-])(?P<name>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)\.svc(?:\.cluster\.local)?(?::\d+)?(?![\w.-])"
)
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_PORT_FLAG = re.compile(r"--[\w-]*port\Z")
_PYTHONS = ("python", "python3")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a process of the twin has around it."""

    addresses: Mapping[Name, str]
    """``host:port`` of every service, by each of its names."""
    kafka: str
    """``host:port``."""
    mounts: Path
    """Folder under which mounted files lie."""
    environment: Mapping[str, str]
    """What every process inherits."""


@dataclass(frozen=True, slots=True)
class Command:
    """A process to start."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]


def service_command(service: Service, replica: str, ports: Mapping[int, int], around: Surroundings) -> Command:
    """One replica of a service that listens on ``ports[service.container.port]``.

    A transformer gets the arguments that KServe's controller adds, unless the manifest has them.
    """
    port = ports[service.container.port]
    command = _command(service.container, Name(service.name.namespace, replica), ports, around)
    return Command(
        (*command.argv, *_added_args(service, command.argv, port, around)),
        {
            **command.environment,
            "PORT": str(port),
            # Knative's runtime contract, "Environment".
            "K_SERVICE": service.knative_name,
            "K_CONFIGURATION": service.knative_name,
            "K_REVISION": command.environment.get("K_REVISION", service.revision),
        },
    )


def workload_command(container: Container, pod: Name, ports: Mapping[int, int], around: Surroundings) -> Command:
    """A Deployment's container."""
    return _command(container, pod, ports, around)


def mount_folder(mounts: Path, mount: Mount, pod_namespace: str) -> Path:
    """Where the files of a mount lie on this machine."""
    if mount.config_map is None:
        return mounts / pod_namespace / "empty" / mount.volume
    folder = mounts / mount.config_map.namespace / "config" / mount.config_map.name
    return folder / mount.file if mount.file else folder


def unknown_hosts(container: Container, known: frozenset[Name]) -> list[str]:
    """Cluster names in the container's words that none of ``known`` has, other than Kafka's."""
    values = [value for key, value in container.environment.items() if key != KAFKA_VARIABLE]
    return [
        found[0]
        for word in (*container.command, *container.args, *values)
        for found in _CLUSTER_HOST.finditer(word)
        if Name(found["namespace"], found["name"]) not in known
    ]


def _command(container: Container, pod: Name, ports: Mapping[int, int], around: Surroundings) -> Command:
    own = {"metadata.name": pod.name, "metadata.namespace": pod.namespace}
    environment = {name: own[field] for name, field in container.fields.items()}
    for key, value in container.environment.items():
        environment[key] = _localised(_expanded(value, environment), container, pod, around)
    if KAFKA_VARIABLE in environment:
        environment[KAFKA_VARIABLE] = around.kafka
    environment = {key: _env_port(key, value, ports) for key, value in environment.items()}
    words = [
        _localised(_expanded(word, environment), container, pod, around)
        for word in (*container.command, *container.args)
    ]
    argv = _on_this_machine(_with_ports(words, ports))
    return Command(argv, {**around.environment, "HOSTNAME": pod.name, **environment})


def _added_args(service: Service, argv: tuple[str, ...], port: int, around: Surroundings) -> list[str]:
    given = {word.partition("=")[0].replace("-", "_") for word in argv if word.startswith("--")}
    added = []
    if service.role == "transformer":
        predictor = around.addresses[Name(service.name.namespace, f"{service.app}-predictor")]
        wanted = {"--model_name": service.app, "--predictor_host": predictor, "--http_port": str(port)}
    else:
        wanted = {"--http_port": str(port)} if argv[2:4] == ("headrace.cli.main", "serve") else {}
    for flag, value in wanted.items():
        if flag.replace("-", "_") not in given:
            added += [flag, value]
    return added


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    """``$(NAME)`` as Kubernetes expands it: an unknown name stays, ``$$`` is one dollar."""
    return _REFERENCE.sub(lambda found: environment.get(found[1], found[0]) if found[1] else "$", text)


def _localised(text: str, container: Container, pod: Name, around: Surroundings) -> str:
    folders = {mount.path: str(mount_folder(around.mounts, mount, pod.namespace)) for mount in container.mounts}
    if folders:
        # All in one pass, the longest path first: what stands in for one mount may lie below the path of another.
        paths = "|".join(map(re.escape, sorted(folders, key=len, reverse=True)))
        pattern = rf"(?<![\w./-])({paths})(?=/|\Z|[\s,:;\"'])"
        text = re.sub(pattern, lambda found: folders[found[1]], text)
    return _CLUSTER_HOST.sub(
        lambda found: around.addresses.get(Name(found["namespace"], found["name"]), found[0]), text
    )


def _env_port(key: str, value: str, ports: Mapping[int, int]) -> str:
    if value.isdecimal() and (key == "PORT" or key.endswith("_PORT")):
        return str(ports.get(int(value), value))
    return value


def _with_ports(words: list[str], ports: Mapping[int, int]) -> list[str]:
    result: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        if equals and value.isdecimal() and _PORT_FLAG.match(flag):
            result.append(f"{flag}={ports.get(int(value), value)}")
        elif word.isdecimal() and result and _PORT_FLAG.match(result[-1]):
            result.append(str(ports.get(int(word), word)))
        else:
            result.append(word)
    return result


def _on_this_machine(words: list[str]) -> tuple[str, ...]:
    """The interpreter of the twin stands for the one in the image."""
    program = words[0].rpartition("/")[2] if words else ""
    if program == "headrace":
        return (sys.executable, "-m", "headrace.cli.main", *words[1:])
    if program in _PYTHONS:
        return (sys.executable, *words[1:])
    return tuple(words)
