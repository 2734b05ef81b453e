"""What an apply would do, asked of the cluster itself before anything is changed (server-side dry run)."""

from __future__ import annotations

import difflib
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from headrace.manifests.cluster.api import Query
from headrace.manifests.cluster.parallel import all_of
from headrace.manifests.cluster.reference import Reference
from headrace.manifests.cluster.refusals import RefusedError
from headrace.manifests.cluster.saying import says
from headrace.manifests.yaml_text import to_yaml

if TYPE_CHECKING:
    from headrace.manifests.cluster.api import ClusterApi
    from headrace.manifests.cluster.plan import Plan
    from headrace.manifests.resource import Resource


@dataclass(frozen=True, slots=True)
class Preview:
    """What would become of one resource."""

    resource: Resource
    """As it is to be applied."""
    live: Resource | None
    """As it is in the cluster; None where it is not."""
    would: Resource | None
    """As it would be then; None where the cluster cannot say, since the namespace is yet to come."""

    @property
    def reference(self) -> Reference:
        """Of the resource."""
        return Reference.of(self.resource)

    @property
    def what(self) -> Literal["created", "changed", "unchanged"]:
        """What the apply would do; a field that only changes its owner is a change too."""
        if self.live is None or self.would is None:
            return "created"
        return "unchanged" if _known(self.live) == _known(self.would) else "changed"

    def diff(self) -> str:
        """Live and would-be as a unified diff of their YAML; empty where nothing that is said changes."""
        before = _shown(self.live) if self.live else []
        after = _shown(self.would or self.resource)
        name = str(self.reference)
        return "\n".join(difflib.unified_diff(before, after, f"live {name}", f"new {name}", lineterm=""))


async def preview(api: ClusterApi, plan: Plan, *, force: bool) -> list[Preview]:
    """What the plan would do to each of its resources, in the plan's order.

    Raises:
        RefusedError: the cluster refuses some; all of them are named.
    """
    there = {name: await _is_there(api, name) for name in sorted(plan.namespaces)}
    resources = plan.resources
    found = await all_of(lambda each: _one(api, each, there, force=force), resources)
    refused = [each for each in found if isinstance(each, RefusedError)]
    if refused:
        raise together(refused, len(resources))
    return [each for each in found if isinstance(each, Preview)]


def together(refused: list[RefusedError], count: int) -> RefusedError:
    """Several refusals as one."""
    if len(refused) == 1:
        return refused[0]
    lines = "\n  - ".join(each.message for each in refused)
    return RefusedError(
        f"The cluster refuses {len(refused)} of {count} resources:\n  - {lines}\n",
        reason=refused[0].reason,
        conflicts=tuple(conflict for each in refused for conflict in each.conflicts),
        hint="; ".join(dict.fromkeys(each.hint for each in refused if each.hint)),
    )


async def _is_there(api: ClusterApi, namespace: str) -> bool:
    try:
        return (await api.find(Query("v1", "Namespace", name=namespace))).first is not None
    except RefusedError as refused:
        # Who may not look at namespaces may still use this one; the dry run will tell.
        if refused.reason == "forbidden":
            return True
        raise


async def _one(api: ClusterApi, resource: Resource, there: dict[str, bool], *, force: bool) -> Preview:
    to = Reference.of(resource)
    if not there.get(to.namespace, True):
        return Preview(resource, None, None)
    live = (await api.find(Query.of(to))).first
    if live:
        _guard_partitions(resource, live)
        _guard_mode(resource, live)
    try:
        would = await api.apply(resource, force=force, dry_run=True)
    except RefusedError as refused:
        if refused.reason != "forbidden":
            raise
        return _held(resource, live, refused)
    return Preview(resource, live, would)


def _held(resource: Resource, live: Resource | None, refused: RefusedError) -> Preview:
    """What is an administrator's, and needs no change: roles, quotas, the namespace.

    Raises:
        RefusedError: it does need one.
    """
    if live and says(live, resource):
        return Preview(resource, live, live)
    raise RefusedError(
        refused.message, reason="forbidden", hint="let an administrator run this deploy once, or give you the right"
    ) from None


def _guard_partitions(resource: Resource, live: Resource) -> None:
    """Kafka cannot take partitions away, and Strimzi says so only after the topic was changed.

    Raises:
        RefusedError: fewer are asked for than there are.
    """
    has, wanted = partitions(live), partitions(resource)
    if wanted < has:
        raise RefusedError(
            f"{Reference.of(resource)} has {has} partitions, and {wanted} are asked for: Kafka cannot take any away",
            reason="invalid",
            hint=f"say trigger.partitions: {has}, or use another topic",
        )


def _guard_mode(resource: Resource, live: Resource) -> None:
    """KServe keeps an InferenceService in the mode that it was made in, whatever its annotation says by now.

    Raises:
        RefusedError: it was made in another one, in which nothing scales to zero.
    """
    mode = (live.get("status") or {}).get("deploymentMode", "")
    if resource["kind"] == "InferenceService" and mode not in _KNATIVE:
        raise RefusedError(
            f"{Reference.of(resource)} was made in the mode {mode}, and KServe never changes it",
            reason="invalid",
            hint=f"kubectl delete inferenceservice {resource['metadata']['name']} "
            f"-n {resource['metadata']['namespace']}, and deploy again",
        )


_KNATIVE = ("", "Knative", "Serverless")
"""The mode of scale to zero, its old name, and none yet."""


def partitions(resource: Resource) -> int:
    """Of a KafkaTopic; 0 of anything else."""
    return int(resource["spec"].get("partitions", 0)) if resource["kind"] == "KafkaTopic" else 0


def _known(resource: Resource) -> Resource:
    """The resource without what changes with every write."""
    shown = deepcopy(resource)
    about = shown["metadata"]
    for key in ("resourceVersion", "generation", "uid", "creationTimestamp"):
        about.pop(key, None)
    for owner in about.get("managedFields", []):
        owner.pop("time", None)
    shown.pop("status", None)
    return shown


def _shown(resource: Resource) -> list[str]:
    shown = _known(resource)
    shown["metadata"].pop("managedFields", None)
    return to_yaml([shown]).splitlines()
