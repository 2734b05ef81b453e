"""Whether these credentials may do what a deploy does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.manifests.cluster.api import Access, Query
from headrace.manifests.cluster.doctor.finding import Finding
from headrace.manifests.cluster.parallel import all_of
from headrace.manifests.cluster.plan import KEPT
from headrace.manifests.cluster.readiness import WAITED
from headrace.manifests.cluster.reference import Reference, group_of
from headrace.manifests.cluster.refusals import RefusedError
from headrace.manifests.cluster.saying import says

if TYPE_CHECKING:
    from headrace.manifests.cluster.api import ClusterApi, Discovery
    from headrace.manifests.cluster.plan import Plan
    from headrace.manifests.resource import Resource

_WRITE = ("get", "create", "patch", "delete")
_FOLLOW = ("list", "watch")
_ALL = "*"


@dataclass(frozen=True, slots=True)
class _Place:
    """One kind in one namespace."""

    api_version: str
    kind: str
    namespace: str
    """Of a Namespace itself: the API server looks there for rights on it."""


@dataclass(frozen=True, slots=True)
class _Answer:
    denied: tuple[str, ...]
    held: bool = False
    """Whether an administrator has it, and nothing of it is to change."""


async def rights(api: ClusterApi, plan: Plan, found: Discovery) -> list[Finding]:
    """An error for each kind and namespace where something is not allowed that this deploy would do."""
    if not plan.apps:
        return []
    places = _places(plan)
    known = [each for each in places if (each.api_version, each.kind) in found.kinds]
    answers = await all_of(lambda each: _asked(api, found, each, places[each]), known)
    denied: dict[tuple[str, str], list[str]] = {}
    held: list[str] = []
    for place, answer in zip(known, answers, strict=True):
        if isinstance(answer, RefusedError):
            raise answer
        if answer.held:
            held.append(place.kind)
        if answer.denied:
            denied.setdefault((place.namespace, ", ".join(answer.denied)), []).append(place.kind)
    if denied:
        return [_finding(namespace, verbs, names) for (namespace, verbs), names in denied.items()]
    said = f"; an administrator holds {', '.join(sorted(set(held)))}, and no change of it is needed" if held else ""
    return [Finding("ok", "rights", f"all that a deploy does to {len(known)} kinds is allowed{said}")]


def _places(plan: Plan) -> dict[_Place, list[Resource]]:
    """What is rendered by kind and namespace; none for the records, which each deploy writes anew."""
    found: dict[_Place, list[Resource]] = {}
    for each in plan.resources:
        to = Reference.of(each)
        place = _Place(to.api_version, to.kind, to.name if to.kind == "Namespace" else to.namespace)
        found.setdefault(place, []).append(each)
    for app in plan.apps:
        found[_Place("v1", "ConfigMap", app.namespace)] = []
    return found


async def _asked(api: ClusterApi, found: Discovery, place: _Place, resources: list[Resource]) -> _Answer:
    plural = found.kinds[place.api_version, place.kind].plural

    async def may(verb: str) -> bool:
        return await api.may(Access(verb, group_of(place.api_version), plural, place.namespace))

    if await may(_ALL):
        return _Answer(())
    # The records are listed, and what is waited for is followed; what is kept is never deleted.
    verbs = [verb for verb in _WRITE if verb != "delete" or place.kind not in KEPT]
    verbs += _FOLLOW if place.kind in WAITED else ("list",) if place.kind == "ConfigMap" else ()
    denied = [verb for verb in verbs if not await may(verb)]
    if not denied or not resources or not await _unchanged(api, resources):
        return _Answer(tuple(denied))
    return _Answer(tuple(verb for verb in denied if verb not in _WRITE), held=True)


async def _unchanged(api: ClusterApi, resources: list[Resource]) -> bool:
    """Whether all of them are in the cluster as they are to be; False also where they may not be read."""
    for each in resources:
        try:
            live = (await api.find(Query.of(Reference.of(each)))).first
        except RefusedError:
            return False
        if live is None or not says(live, each):
            return False
    return True


def _finding(namespace: str, verbs: str, names: list[str]) -> Finding:
    where = f"in namespace {namespace}" if namespace else "in the whole cluster"
    fix = (
        f"let an administrator deploy this once, or give you these verbs on these kinds {where}; "
        "with `access: {deployers: [...]}` you may then deploy all that is not an administrator's"
    )
    return Finding("error", "rights", f"you may not {verbs} {', '.join(names)} {where}", fix)
