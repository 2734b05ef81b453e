"""Whether these credentials may do what a deploy does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.manifests.cluster.api import Access
from headrace.manifests.cluster.doctor.finding import Finding
from headrace.manifests.cluster.parallel import all_of
from headrace.manifests.cluster.plan import KEPT
from headrace.manifests.cluster.readiness import WAITED
from headrace.manifests.cluster.reference import Reference
from headrace.manifests.cluster.refusals import RefusedError

if TYPE_CHECKING:
    from headrace.manifests.cluster.api import ClusterApi, Discovery
    from headrace.manifests.cluster.plan import Plan

_WRITE = ("get", "create", "patch", "delete")
_FOLLOW = ("list", "watch")
_ALL = "*"


async def rights(api: ClusterApi, plan: Plan, found: Discovery) -> list[Finding]:
    """An error for each kind and namespace where something is not allowed."""
    places = dict.fromkeys(_places(plan))
    for app in plan.apps:
        # Where deploys are written down.
        places["v1", "ConfigMap", app.namespace] = None
    known = [each for each in places if each[:2] in found.kinds]
    answers = await all_of(lambda each: _denied(api, found, *each), known)
    denied: dict[tuple[str, str], list[str]] = {}
    for (_, kind, namespace), answer in zip(known, answers, strict=True):
        if isinstance(answer, RefusedError):
            raise answer
        if answer:
            denied.setdefault((namespace, ", ".join(answer)), []).append(kind)
    if not denied:
        return [Finding("ok", "rights", f"all that a deploy does to {len(known)} kinds is allowed")]
    return [_finding(namespace, verbs, names) for (namespace, verbs), names in denied.items()]


def _places(plan: Plan) -> list[tuple[str, str, str]]:
    references = [Reference.of(each) for each in plan.resources]
    return [(each.api_version, each.kind, each.namespace) for each in references]


async def _denied(api: ClusterApi, found: Discovery, api_version: str, kind: str, namespace: str) -> list[str]:
    plural = found.kinds[api_version, kind].plural
    group = Reference(api_version, kind, "", "").group
    if await api.may(Access(_ALL, group, plural, namespace)):
        return []
    # The records are listed, and what is waited for is followed; what is kept is never deleted.
    verbs = [verb for verb in _WRITE if verb != "delete" or kind not in KEPT]
    verbs += _FOLLOW if kind in WAITED else ("list",) if kind == "ConfigMap" else ()
    return [verb for verb in verbs if not await api.may(Access(verb, group, plural, namespace))]


def _finding(namespace: str, verbs: str, names: list[str]) -> Finding:
    where = f"in namespace {namespace}" if namespace else "in the whole cluster"
    fix = f"ask an administrator for these verbs on these kinds {where}"
    if namespace:
        fix += "; the Role APP-deployer of `access: {deployers: [...]}` has those for the app's own kinds"
    return Finding("error", "rights", f"you may not {verbs} {', '.join(names)} {where}", fix)
