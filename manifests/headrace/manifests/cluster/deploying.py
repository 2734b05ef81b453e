"""Deploying a plan: asked first, then applied in order, waited for, pruned, and written down.

Every step may be done twice, so a deploy that was cut off is ended by running it again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from headrace.manifests.cluster.explaining import explain
from headrace.manifests.cluster.history import History, Revision, digest_of
from headrace.manifests.cluster.parallel import all_of
from headrace.manifests.cluster.plan import stages
from headrace.manifests.cluster.preview import preview, together
from headrace.manifests.cluster.progress import Step, silently
from headrace.manifests.cluster.pruning import prune
from headrace.manifests.cluster.readiness import WAITED
from headrace.manifests.cluster.reference import Reference
from headrace.manifests.cluster.refusals import RefusedError
from headrace.manifests.cluster.waiting import NotReadyError, wait_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.manifests.cluster.api import ClusterApi
    from headrace.manifests.cluster.plan import AppPlan, Plan
    from headrace.manifests.cluster.preview import Preview
    from headrace.manifests.cluster.progress import Report
    from headrace.manifests.resource import Resource


@dataclass(frozen=True, slots=True)
class DeployOptions:
    """How to deploy."""

    timeout: float = 300.0
    """Seconds until everything must be ready; 0 does not wait."""
    settle: float = 30.0
    """Seconds for which a resource may be in trouble before the deploy fails: some troubles pass by themselves."""
    force: bool = False
    """Take fields over from other managers."""
    prune: bool = True
    """Remove what the apps had and is rendered no more."""
    note: str = ""
    """Kept with the revision."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a deploy did."""

    steps: tuple[Step, ...]
    """Every resource once: created, changed, unchanged, pruned, kept or left."""
    revisions: dict[str, int]
    """The number of each app's revision."""

    @property
    def changed(self) -> bool:
        """Whether anything is different from before."""
        return any(step.what in ("created", "changed", "pruned") for step in self.steps)


async def deploy(
    api: ClusterApi,
    plan: Plan,
    options: DeployOptions | None = None,
    report: Report = silently,
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> Deployed:
    """Make the cluster have what the plan says, and return when it works.

    Raises:
        RefusedError: the cluster refuses something. Nothing was changed where it says so when asked before.
        NotReadyError: all was applied, and something is not ready in time; the revision is marked as not deployed.
        UnavailableError: the cluster does not answer; the same call goes on from there.
    """
    chosen = options or DeployOptions()
    previews = await preview(api, plan, force=chosen.force)
    steps = [Step(each.reference, each.what) for each in previews]
    ahead = [each for each in previews if each.resource["kind"] == "Namespace"]
    await _apply(api, ahead, report, force=chosen.force)
    records = [await _Record.begin(api, app, now().strftime("%Y-%m-%dT%H:%M:%SZ"), chosen.note) for app in plan.apps]
    await _apply(api, [each for each in previews if each not in ahead], report, force=chosen.force)
    if chosen.timeout:
        changed = [step.reference for step in steps if step.what == "changed"]
        await _wait(api, plan, chosen, report, changed=changed, records=records)
    rendered = frozenset(Reference.of(each).identity for each in plan.resources)
    for record in records:
        steps += await record.end(rendered, report, prune_it=chosen.prune, worked=bool(chosen.timeout))
    return Deployed(tuple(steps), {record.app.name: record.revision.number for record in records})


async def rehearse(api: ClusterApi, plan: Plan, options: DeployOptions) -> tuple[list[Preview], list[Step]]:
    """What a deploy would apply, and what it would prune; nothing is changed.

    Raises:
        RefusedError: the cluster refuses something.
        UnavailableError: it does not answer.
    """
    previews = await preview(api, plan, force=options.force)
    rendered = frozenset(Reference.of(each).identity for each in plan.resources)
    gone: list[Step] = []
    for app in plan.apps if options.prune else ():
        had = await History(api, app.name, app.namespace).applied()
        old = [each for each in had if each.identity not in rendered]
        gone += await prune(api, app.name, old, silently, dry_run=True)
    return previews, gone


async def _apply(api: ClusterApi, previews: Sequence[Preview], report: Report, *, force: bool) -> None:
    """Stage by stage; a stage is ended before a refusal of it is raised."""
    asked = {Reference.of(each.resource).identity: each for each in previews}

    async def one(resource: Resource) -> None:
        before = asked[Reference.of(resource).identity]
        if before.what != "unchanged":
            await api.apply(resource, force=force)
        report(Step(before.reference, before.what))

    for stage in stages(each.resource for each in previews):
        results = await all_of(one, stage)
        refused = [each for each in results if isinstance(each, RefusedError)]
        if refused:
            raise together(refused, len(previews))


async def _wait(  # all of them are the question
    api: ClusterApi,
    plan: Plan,
    options: DeployOptions,
    report: Report,
    *,
    changed: list[Reference],
    records: list[_Record],
) -> None:
    waited = [Reference.of(each) for each in plan.resources if each["kind"] in WAITED]
    try:
        await wait_ready(api, waited, timeout=options.timeout, settle=options.settle, report=report, changed=changed)
    except NotReadyError as fault:
        for record in records:
            # An app that works is one to go back to, whatever became of its neighbours.
            if not fault.waiting & {Reference.of(each) for each in record.app.resources}:
                await record.works()
        reasons = await asyncio.gather(*(explain(api, each) for each in fault.found))
        found = {
            each: "\n      ".join(dict.fromkeys((why, *more)))
            for (each, why), more in zip(fault.found.items(), reasons, strict=True)
        }
        hint = fault.hint or "`headrace rollback APP` goes back to what worked before"
        raise NotReadyError(fault.message, found=found, waiting=fault.waiting, hint=hint) from None


@dataclass(slots=True)
class _Record:
    """One app's records during a deploy."""

    history: History
    app: AppPlan
    revision: Revision
    before: tuple[Reference, ...]
    """What the app had."""

    @classmethod
    async def begin(cls, api: ClusterApi, app: AppPlan, time: str, note: str) -> _Record:
        """Write down what the app is about to have, before it has it: nothing is ever there that nobody knows of."""
        history = History(api, app.name, app.namespace)
        before, revisions = await history.applied(), await history.revisions()
        mine = {Reference.of(each) for each in app.resources}
        if not mine <= set(before):
            await history.remember(mine | set(before))
        last = revisions[-1] if revisions else None
        if last and last.digest == digest_of(app.resources):
            return cls(history, app, last, before)
        revision = Revision.of(last.number + 1 if last else 1, app.resources, time=time, note=note)
        try:
            await history.keep(revision)
        except RefusedError as refused:
            if refused.reason != "invalid":
                raise
            # A revision never changes, so somebody else wrote one of this number a moment ago.
            raise RefusedError(
                f"Another deploy of {app.namespace}/{app.name} is under way",
                reason="conflict",
                hint="run again when it has ended",
            ) from None
        await history.trim([*revisions, revision])
        return cls(history, app, revision, before)

    async def works(self) -> None:
        """Write down that the app works now."""
        if self.revision.state != "deployed":
            self.revision = replace(self.revision, state="deployed")
            await self.history.keep(self.revision)

    async def end(
        self, rendered: frozenset[tuple[str, str, str, str]], report: Report, *, prune_it: bool, worked: bool
    ) -> list[Step]:
        """Write down that the app works now, and prune what it has no more."""
        if worked:
            await self.works()
        mine = {Reference.of(each) for each in self.app.resources}
        old = [each for each in self.before if each.identity not in rendered]
        steps: list[Step] = []
        if prune_it:
            steps = await prune(self.history.api, self.app.name, old, report)
            # What holds events is still the app's, for `headrace delete --topics`; what is another's now is not.
            old = [each.reference for each in steps if each.what == "kept"]
        has = mine | set(old)
        if has != set(self.before):
            await self.history.remember(has)
        return steps
