"""Removing what an app has and should have no more; never what is another's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.manifests.cluster.api import Query
from headrace.manifests.cluster.parallel import all_of
from headrace.manifests.cluster.plan import KEPT, owner_of, stage_of
from headrace.manifests.cluster.preview import together
from headrace.manifests.cluster.progress import Step
from headrace.manifests.cluster.refusals import RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from headrace.manifests.cluster.api import ClusterApi
    from headrace.manifests.cluster.progress import Report
    from headrace.manifests.cluster.reference import Reference


async def prune(  # all of them are the question
    api: ClusterApi,
    app: str,
    references: Iterable[Reference],
    report: Report,
    *,
    kept: frozenset[str] = KEPT,
    dry_run: bool = False,
) -> list[Step]:
    """Delete those of the resources that say they are the app's, last applied first; what became of each.

    With ``dry_run`` nothing is deleted, and all is told as if it were.

    Raises:
        RefusedError: some may not be deleted; the others were.
    """
    steps: list[Step] = []
    for stage in backwards(references):
        results = await all_of(lambda each: _one(api, app, each, kept, dry_run=dry_run), stage)
        found = [step for step in results if isinstance(step, Step)]
        for step in found:
            report(step)
        steps += found
        refused = [each for each in results if isinstance(each, RefusedError)]
        if refused:
            raise together(refused, len(stage))
    return steps


def backwards(references: Iterable[Reference]) -> list[list[Reference]]:
    """The resources in the order in which they are deleted: what brings events first, namespaces last."""
    found: dict[int, list[Reference]] = {}
    for each in sorted(set(references)):
        dispatcher = each.kind == "Deployment" and each.name.endswith("-dispatcher")
        found.setdefault(stage_of("Trigger" if dispatcher else each.kind), []).append(each)
    return [found[number] for number in sorted(found, reverse=True)]


async def _one(api: ClusterApi, app: str, reference: Reference, kept: Collection[str], *, dry_run: bool) -> Step | None:
    try:
        live = (await api.find(Query.of(reference))).first
    except RefusedError as refused:
        # The kind itself was uninstalled, and its resources with it.
        if refused.reason == "unknown-kind":
            return None
        raise
    if live is None:
        return None
    if owner_of(live) != app:
        return Step(reference, "left", f"it is {owner_of(live) or 'somebody else'}'s now")
    if reference.kind in kept:
        why = "it holds events; `headrace delete --topics` removes it" if reference.kind == "KafkaTopic" else "in use"
        return Step(reference, "kept", why)
    return Step(reference, "pruned") if dry_run or await api.delete(reference) else None
