"""``headrace deploy``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from headrace.cli.cluster import (
    USUAL_FILE,
    ContextOption,
    FileOption,
    ImageOption,
    KafkaOption,
    ProfileOption,
    TimeoutOption,
    on_cluster,
    planned,
    seconds,
)
from headrace.errors import ConfigurationError, HeadraceError

if TYPE_CHECKING:
    from headrace.cli.cluster import Planned
    from headrace.manifests.cluster.api import ClusterApi
    from headrace.manifests.cluster.deploying import Deployed, DeployOptions
    from headrace.manifests.cluster.preview import Preview
    from headrace.manifests.cluster.progress import Step


def deploy(
    file: FileOption = USUAL_FILE,
    profile: ProfileOption = None,
    kafka: KafkaOption = None,
    image: ImageOption = None,
    context: ContextOption = None,
    timeout: TimeoutOption = "5m",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done, asked of the cluster.")
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Only print what would change, line by line.")] = False,
    prune: Annotated[bool, typer.Option(help="Remove what an app had and is rendered no more.")] = True,
    force_conflicts: Annotated[
        bool, typer.Option("--force-conflicts", help="Take over fields that somebody else has changed.")
    ] = False,
    skip_doctor: Annotated[
        bool, typer.Option("--skip-doctor", help="Deploy though `headrace doctor` finds errors.")
    ] = False,
    output: Annotated[Literal["text", "json"], typer.Option(help="text for people, json for programs.")] = "text",
) -> None:
    """Deploy the apps of a headrace.yaml to a cluster, and wait until they work.

    Asks the cluster first and changes nothing if it refuses anything; a second run changes nothing.
    """
    from headrace.manifests.cluster.deploying import DeployOptions

    options = DeployOptions(timeout=seconds("--timeout", timeout), force=force_conflicts, prune=prune)
    what = planned(file, profile, kafka, image)
    if dry_run or diff:
        previews, gone = on_cluster(context, lambda api: _rehearsed(api, what, options, skip_doctor=skip_doctor))
        _print_rehearsal(previews, gone, diff=diff, output=output)
        return
    _guard_placeholder(what)
    done = on_cluster(context, lambda api: _deployed(api, what, options, skip_doctor=skip_doctor, output=output))
    _print(done, output)


def _guard_placeholder(what: Planned) -> None:
    from headrace.manifests.options import PLACEHOLDER_IMAGE

    if f"{PLACEHOLDER_IMAGE}:" in str(what.plan.resources):
        raise ConfigurationError(
            f"The image {what.options.image} is a placeholder, which no cluster can pull",
            hint="name your image with --image IMAGE, or `image:` in the spec",
        )


async def _rehearsed(
    api: ClusterApi, what: Planned, options: DeployOptions, *, skip_doctor: bool
) -> tuple[list[Preview], list[Step]]:
    from headrace.manifests.cluster.deploying import rehearse

    await _checked(api, what, skip=skip_doctor, quiet=False)
    return await rehearse(api, what.plan, options)


async def _deployed(
    api: ClusterApi, what: Planned, options: DeployOptions, *, skip_doctor: bool, output: str
) -> Deployed:
    from headrace.cli.cluster_progress import Progress
    from headrace.manifests.cluster import deploying

    await _checked(api, what, skip=skip_doctor, quiet=output == "json")
    with Progress(quiet=output == "json") as progress:
        return await deploying.deploy(api, what.plan, options, progress)


async def _checked(api: ClusterApi, what: Planned, *, skip: bool, quiet: bool) -> None:
    """Nothing.

    Raises:
        HeadraceError: the doctor finds errors.
    """
    from headrace.manifests.cluster.doctor.examine import errors, examine

    if skip:
        return
    findings = await examine(api, what.plan, what.apps, what.options)
    for each in findings if not quiet else ():
        if each.level == "warning":
            typer.echo(f"headrace: note: {each.message}{f' ({each.fix})' if each.fix else ''}", err=True)
    if found := errors(findings):
        lines = "".join(f"\n  - {each.message}\n    fix: {each.fix}" for each in found)
        count = "1 thing" if len(found) == 1 else f"{len(found)} things"
        raise HeadraceError(
            f"The cluster lacks {count} for this, and nothing was changed:{lines}\n",
            hint="--skip-doctor deploys all the same",
        )


def _print(done: Deployed, output: str) -> None:
    from headrace.cli.cluster_progress import summary

    if output == "json":
        _echo_json(
            {
                "changed": done.changed,
                "revisions": done.revisions,
                "resources": [step.to_json() for step in done.steps],
            }
        )
        return
    at = ", ".join(f"{app} is at revision {number}" for app, number in done.revisions.items())
    typer.echo(f"{summary(done.steps)}; {at}" if done.changed else f"nothing to change; {at}")


def _print_rehearsal(previews: list[Preview], gone: list[Step], *, diff: bool, output: str) -> None:
    from headrace.cli.cluster_progress import line, summary
    from headrace.manifests.cluster.progress import Step

    steps = [*(Step(each.reference, each.what) for each in previews), *gone]
    if output == "json":
        texts = {str(each.reference): each.diff() for each in previews} if diff else {}
        shown = [{**step.to_json(), **_told(texts.get(str(step.reference), ""))} for step in steps]
        _echo_json({"dryRun": True, "resources": shown})
        return
    if diff:
        for text in filter(None, (each.diff() for each in previews)):
            typer.echo(text)
    for step in steps:
        if step.what != "unchanged" and not (diff and step.what in ("created", "changed")):
            typer.echo(line(step))
    typer.echo(f"{summary(steps)}; nothing was done, this was a dry run", err=diff)


def _told(diff: str) -> dict[str, str]:
    return {"diff": diff} if diff else {}


def _echo_json(value: dict[str, Any]) -> None:
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
