"""What the commands on a cluster share: their options, the plan, the way in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from headrace.errors import ConfigurationError, HeadraceError

if TYPE_CHECKING:
    from headrace.manifests.cluster.api import ClusterApi
    from headrace.manifests.cluster.plan import Plan
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp

Found = TypeVar("Found")

FileOption = Annotated[Path, typer.Option("-f", "--file", help="The headrace.yaml with the apps.")]
ProfileOption = Annotated[
    str | None, typer.Option(help="Take the apps under a profile: dev, gpu, prod, or one of the file's own.")
]
KafkaOption = Annotated[
    str | None, typer.Option(help="Bootstrap servers in the cluster, HOST:PORT[,...]; Strimzi's usual ones without.")
]
ImageOption = Annotated[
    str | None, typer.Option(help="Image of the dispatcher, and of containers whose app names none.")
]
ContextOption = Annotated[
    str | None, typer.Option(help="Context of the kubeconfig, which is at $KUBECONFIG or ~/.kube/config.")
]
TimeoutOption = Annotated[str, typer.Option(help="How long to wait until all is done, such as 90s or 5m; 0s for not.")]
USUAL_FILE = Path("headrace.yaml")


@dataclass(frozen=True, slots=True)
class Planned:
    """The apps of a file, and what they are to have."""

    apps: list[InferenceApp]
    options: RenderOptions
    plan: Plan


def planned(file: Path, profile: str | None, kafka: str | None, image: str | None) -> Planned:
    """The plan of a file.

    Raises:
        ConfigurationError: the file or an option is wrong.
    """
    from headrace.cli.render import render_options
    from headrace.manifests.cluster.plan import plan_of
    from headrace.manifests.loading import load_apps

    apps = load_apps(file, profile)
    options = render_options(kafka, image)
    return Planned(apps, options, plan_of(apps, options))


def on_cluster(context: str | None, action: Callable[[ClusterApi], Awaitable[Found]]) -> Found:
    """What an action on the cluster gives.

    Raises:
        HeadraceError: of the action; or somebody pressed Ctrl-C.
    """
    from headrace.manifests.cluster.connection import connect
    from headrace.manifests.cluster.http import http_cluster

    connection = connect(context)

    async def run() -> Found:
        async with http_cluster(connection) as api:
            return await action(api)

    try:
        return asyncio.run(run())
    except KeyboardInterrupt:
        raise HeadraceError("Stopped half-way", hint="the same command goes on from there") from None


def seconds(option: str, text: str) -> float:
    """The seconds of a duration.

    Raises:
        ConfigurationError: it is none.
    """
    from headrace.manifests.quantity import parse_duration

    try:
        return parse_duration(text).total_seconds()
    except ValueError as fault:
        raise ConfigurationError(f"{option} {text!r}: {fault}") from None
