"""``headrace rollback``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.cluster import USUAL_FILE, ContextOption, TimeoutOption, on_cluster, seconds
from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from headrace.manifests.cluster.api import ClusterApi
    from headrace.manifests.cluster.deploying import DeployOptions
    from headrace.manifests.cluster.rollback import RolledBack


def rollback(
    app: Annotated[str, typer.Argument(help="Name of the app.")],
    namespace: Annotated[
        str | None,
        typer.Option("-n", "--namespace", help="Where it lives [default: as headrace.yaml here says, else default]"),
    ] = None,
    to: Annotated[
        int | None, typer.Option(help="Number of the revision; the last good one before this without.")
    ] = None,
    context: ContextOption = None,
    timeout: TimeoutOption = "5m",
    force_conflicts: Annotated[
        bool, typer.Option("--force-conflicts", help="Take over fields that somebody else has changed.")
    ] = False,
) -> None:
    """Deploy an earlier revision of an app again, and wait until it works."""
    from headrace.cli.cluster_progress import summary
    from headrace.manifests.cluster.deploying import DeployOptions

    options = DeployOptions(timeout=seconds("--timeout", timeout), force=force_conflicts)
    where = namespace or _namespace_here(app)
    done = on_cluster(context, lambda api: _rolled_back(api, app, where, to, options))
    for note in done.notes:
        typer.echo(f"headrace: note: {note}", err=True)
    number = done.deployed.revisions[app]
    what = summary(done.deployed.steps) if done.deployed.changed else "nothing to change"
    typer.echo(f"{what}; {app} is at revision {number}, which is revision {done.to} again")


async def _rolled_back(api: ClusterApi, app: str, namespace: str, to: int | None, options: DeployOptions) -> RolledBack:
    from headrace.cli.cluster_progress import Progress
    from headrace.manifests.cluster import rollback as engine

    with Progress(quiet=False) as progress:
        return await engine.rollback(api, app, namespace, to=to, options=options, report=progress)


def _namespace_here(app: str) -> str:
    from headrace.manifests.loading import load_apps

    if not USUAL_FILE.is_file():
        return "default"
    try:
        apps = load_apps(USUAL_FILE)
    except ConfigurationError:
        # A rollback is wanted most when that file is broken.
        return "default"
    return next((each.namespace for each in apps if each.name == app), "default")
