"""``headrace delete``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.cluster import (
    USUAL_FILE,
    ContextOption,
    FileOption,
    KafkaOption,
    ProfileOption,
    TimeoutOption,
    on_cluster,
    planned,
    seconds,
)

if TYPE_CHECKING:
    from headrace.cli.cluster import Planned
    from headrace.manifests.cluster.api import ClusterApi
    from headrace.manifests.cluster.progress import Step


def delete(
    file: FileOption = USUAL_FILE,
    profile: ProfileOption = None,
    kafka: KafkaOption = None,
    context: ContextOption = None,
    timeout: TimeoutOption = "5m",
    topics: Annotated[bool, typer.Option("--topics", help="Delete the topics too, and the events in them.")] = False,
) -> None:
    """Delete the apps of a headrace.yaml from a cluster, and wait until they are gone.

    Topics stay, since they hold events, and so does what apps share, such as namespaces.
    """
    limit = seconds("--timeout", timeout)
    what = planned(file, profile, kafka, None)
    steps = on_cluster(context, lambda api: _deleted(api, what, topics=topics, timeout=limit))
    from headrace.cli.cluster_progress import summary

    names = ", ".join(f"{app.namespace}/{app.name}" for app in what.plan.apps)
    typer.echo(f"{names}: {summary(steps) or 'nothing was there'}")


async def _deleted(api: ClusterApi, what: Planned, *, topics: bool, timeout: float) -> list[Step]:
    from headrace.cli.cluster_progress import Progress
    from headrace.manifests.cluster import deleting

    with Progress(quiet=False) as progress:
        return await deleting.delete(api, what.plan, topics=topics, timeout=timeout, report=progress)
