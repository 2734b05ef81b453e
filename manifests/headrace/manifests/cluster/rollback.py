"""Going back to an earlier deploy of an app."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError
from headrace.manifests.cluster.api import Query
from headrace.manifests.cluster.deploying import Deployed, DeployOptions, deploy
from headrace.manifests.cluster.history import History
from headrace.manifests.cluster.plan import AppPlan, Plan
from headrace.manifests.cluster.preview import partitions
from headrace.manifests.cluster.progress import silently
from headrace.manifests.cluster.reference import Reference

if TYPE_CHECKING:
    from headrace.manifests.cluster.api import ClusterApi
    from headrace.manifests.cluster.history import Revision
    from headrace.manifests.cluster.progress import Report
    from headrace.manifests.resource import Resource


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a rollback did."""

    to: int
    """The revision that was applied again."""
    deployed: Deployed
    notes: tuple[str, ...]
    """What is not as it was then, or needs another step."""


async def rollback(
    api: ClusterApi,
    app: str,
    namespace: str,
    *,
    to: int | None = None,
    options: DeployOptions | None = None,
    report: Report = silently,
) -> RolledBack:
    """Apply an earlier revision again; it becomes the newest.

    Args:
        api: The cluster.
        app: Name of the app.
        namespace: Where it lives.
        to: Number of the revision; the newest good one before the current one unless you say.
        options: As for a deploy.
        report: Is told each step.

    Raises:
        ConfigurationError: there is no such revision.
        HeadraceError: as a deploy, or the revision is damaged.
    """
    revisions = await History(api, app, namespace).revisions()
    chosen = choose(revisions, to, f"{namespace}/{app}")
    notes: list[str] = []
    resources = [await _fitting(api, each, notes) for each in chosen.resources]
    notes += [note for each in resources if (note := await _canary(api, each))]
    plan = Plan((AppPlan(app, namespace, tuple(resources)),))
    done = await deploy(api, plan, replace(options or DeployOptions(), note=f"rollback to {chosen.number}"), report)
    return RolledBack(chosen.number, done, tuple(notes))


def choose(revisions: list[Revision], to: int | None, app: str) -> Revision:
    """The revision to go back to.

    Raises:
        ConfigurationError: there is none.
    """
    if not revisions:
        raise ConfigurationError(f"No deploy of {app} is recorded", hint="is it another --namespace, or --context?")
    known = ", ".join(f"{each.number} ({each.state}, {each.time})" for each in revisions)
    if to is not None:
        found = next((each for each in revisions if each.number == to), None)
        if found is None:
            raise ConfigurationError(f"{app} has no revision {to}", hint=f"it has {known}")
        return found
    current = revisions[-1]
    good = [each for each in revisions[:-1] if each.state == "deployed" and each.digest != current.digest]
    if not good:
        raise ConfigurationError(f"{app} has no earlier deploy that worked", hint=f"name one with --to; it has {known}")
    return good[-1]


async def _fitting(api: ClusterApi, resource: Resource, notes: list[str]) -> Resource:
    """A topic with the partitions that it has by now: none can be taken away."""
    if resource["kind"] != "KafkaTopic":
        return resource
    live = (await api.find(Query.of(Reference.of(resource)))).first
    has = partitions(live) if live else 0
    if has <= partitions(resource):
        return resource
    notes.append(f"{Reference.of(resource)} keeps its {has} partitions: Kafka cannot take any away")
    return {**resource, "spec": {**resource["spec"], "partitions": has}}


async def _canary(api: ClusterApi, resource: Resource) -> str:
    """What a share of requests means for a rollback; nothing where there is none."""
    if resource["kind"] != "InferenceService":
        return ""
    share = resource["spec"]["predictor"].get("canaryTrafficPercent")
    if share is None or share >= 100:  # noqa: PLR2004  # per cent
        return ""
    live = (await api.find(Query.of(Reference.of(resource)))).first or {}
    status = ((live.get("status") or {}).get("components") or {}).get("predictor") or {}
    others = status.get("latestRolledoutRevision") or "the predictor that was last rolled out in full"
    return (
        f"{Reference.of(resource)} sends {share} % of the requests to the predictor that you went back to, as its "
        f"revision said; {others} answers the others until rollout.canary is removed and the app deployed"
    )
