"""A container of the manifests -> the command of a process on this machine: ports, addresses, mounted files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.local.resources import Name
from headrace.local.words import on_this_machine, port_words, with_ports_of

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
    dropped: frozenset[str] = frozenset()
    """Variables that no container gets here: how a cluster's Kafka is logged in to."""


@dataclass(frozen=True, slots=True)
class Command:
    """A process to start."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    memory: int = 0
    """Bytes that it may use; 0 is without bound."""


def service_command(service: Service, replica: str, ports: Mapping[int, int], around: Surroundings) -> Command:
    """One replica of a service that listens on ``ports[service.container.port]``.

    A transformer gets the arguments that KServe's controller adds, unless the manifest has them.
    """
    port = ports[service.container.port]
    given = {"PORT": str(port), **_contract(service)}
    command = _command(service.container, Name(service.name.namespace, replica), ports, around, given)
    # Knative's runtime contract, "Environment": not for a container to set, but for the name of its revision.
    environment = {**command.environment, **given}
    environment["K_REVISION"] = command.environment["K_REVISION"]
    return Command((*command.argv, *_added_args(service, command.argv, port, around)), environment, command.memory)


def beside_command(
    service: Service, container: Container, replica: str, ports: Mapping[int, int], around: Surroundings
) -> Command:
    """Another container of the same pod: it shares the ports, and gets none of its own."""
    return _command(container, Name(service.name.namespace, replica), ports, around, _contract(service))


def _contract(service: Service) -> dict[str, str]:
    return {
        "K_SERVICE": service.knative_name,
        "K_CONFIGURATION": service.knative_name,
        "K_REVISION": service.revision,
    }


def workload_command(container: Container, pod: Name, ports: Mapping[int, int], around: Surroundings) -> Command:
    """A Deployment's container."""
    return _command(container, pod, ports, around, {})


def mount_folder(mounts: Path, mount: Mount) -> Path:
    """Where the files of a mount lie on this machine."""
    folder = mounts / mount.folder
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


def _command(
    container: Container, pod: Name, ports: Mapping[int, int], around: Surroundings, given: Mapping[str, str]
) -> Command:
    own = {"metadata.name": pod.name, "metadata.namespace": pod.namespace}
    environment = {**given, **{name: own[field] for name, field in container.fields.items()}}
    for key, value in container.environment.items():
        if key == KAFKA_VARIABLE or key not in around.dropped:
            environment[key] = _localised(_expanded(value, environment), container, around)
    if KAFKA_VARIABLE in environment:
        environment[KAFKA_VARIABLE] = around.kafka
    environment = {key: with_ports_of(_env_port(key, value, ports), ports) for key, value in environment.items()}
    words = [
        with_ports_of(_localised(_expanded(word, environment), container, around), ports)
        for word in (*container.command, *container.args)
    ]
    argv = on_this_machine(port_words(words, ports, container.port))
    return Command(argv, {**around.environment, "HOSTNAME": pod.name, **environment}, container.memory)


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


def _localised(text: str, container: Container, around: Surroundings) -> str:
    folders = {mount.path: str(mount_folder(around.mounts, mount)) for mount in container.mounts}
    if folders:
        # All in one pass, the longest path first: what stands in for one mount may lie below the path of another.
        paths = "|".join(map(re.escape, sorted(folders, key=len, reverse=True)))
        pattern = rf"(?<![\w./-])({paths})(?=/|\Z|[\s,:;\"'])"
        text = re.sub(pattern, lambda found: folders[found[1]], text)
    return localised(text, around.addresses)


def localised(text: str, addresses: Mapping[Name, str]) -> str:
    """``text`` with every cluster name of a service replaced by its address here; others stay."""
    return _CLUSTER_HOST.sub(lambda found: addresses.get(Name(found["namespace"], found["name"]), found[0]), text)


def _env_port(key: str, value: str, ports: Mapping[int, int]) -> str:
    if value.isdecimal() and (key == "PORT" or key.endswith("_PORT")):
        return str(ports.get(int(value), value))
    return value
