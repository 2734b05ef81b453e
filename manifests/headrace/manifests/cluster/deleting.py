"""Deleting apps: in the reverse order of a deploy, and waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.manifests.cluster.history import History
from headrace.manifests.cluster.plan import KEPT
from headrace.manifests.cluster.progress import Step, silently
from headrace.manifests.cluster.pruning import backwards, prune
from headrace.manifests.cluster.reference import Reference
from headrace.manifests.cluster.waiting import wait_gone

if TYPE_CHECKING:
    from headrace.manifests.cluster.api import ClusterApi
    from headrace.manifests.cluster.plan import AppPlan, Plan
    from headrace.manifests.cluster.progress import Report


async def delete(
    api: ClusterApi, plan: Plan, *, topics: bool = False, timeout: float = 300.0, report: Report = silently
) -> list[Step]:
    """Remove the plan's apps and all that is recorded of them; what became of each resource.

    What apps share, such as a namespace, stays; so do topics unless asked for, since they hold events.

    Args:
        api: The cluster.
        plan: The apps.
        topics: Delete the topics as well, and the events in them.
        timeout: Seconds until everything must be gone; 0 does not wait.
        report: Is told each step.

    Raises:
        NotReadyError: something is still there when the time is over; the same call goes on from there.
        RefusedError: something may not be deleted.
    """
    return [step for app in plan.apps for step in await _delete(api, app, topics, timeout, report)]


async def _delete(api: ClusterApi, app: AppPlan, topics: bool, timeout: float, report: Report) -> list[Step]:  # noqa: FBT001  # passed on
    history = History(api, app.name, app.namespace)
    # What is rendered as well: it may have been applied by hand.
    every = {*await history.applied(), *(Reference.of(each) for each in app.resources)}
    kept = KEPT - {"KafkaTopic"} if topics else KEPT
    steps: list[Step] = []
    for stage in backwards(every):
        done = await prune(api, app.name, stage, _renamed(report), kept=kept)
        gone = [each.reference for each in done if each.what == "pruned"]
        if timeout:
            await wait_gone(api, gone, timeout=timeout, report=_gone(report))
        steps += [_deleted(step) for step in done]
    await history.forget()
    return steps


def _deleted(step: Step) -> Step:
    return Step(step.reference, "deleted") if step.what == "pruned" else step


def _renamed(report: Report) -> Report:
    """Kept resources are told at once; the others when they are gone."""
    return lambda step: report(step) if step.what in ("kept", "left") else None


def _gone(report: Report) -> Report:
    return lambda step: report(Step(step.reference, "deleted") if step.what == "ready" else step)
