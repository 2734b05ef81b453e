"""How apps stand in a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.manifests.cluster.api import Query
from headrace.manifests.cluster.history import History
from headrace.manifests.cluster.parallel import all_of
from headrace.manifests.cluster.readiness import WAITED, readiness
from headrace.manifests.cluster.reference import Reference
from headrace.manifests.cluster.refusals import RefusedError

if TYPE_CHECKING:
    from headrace.manifests.cluster.api import ClusterApi
    from headrace.manifests.cluster.history import Revision
    from headrace.manifests.cluster.plan import AppPlan, Plan
    from headrace.manifests.resource import Resource

_SHOWN = WAITED | {"Certificate", "DomainMapping"}


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """How one resource stands."""

    reference: Reference
    state: str
    """``ready``, ``waiting``, ``troubled``, ``failed``, or ``unknown`` where it may not be read."""
    reason: str
    detail: str
    """Address, or replicas."""


@dataclass(frozen=True, slots=True)
class AppStatus:
    """How one app stands."""

    name: str
    namespace: str
    revision: int
    """0 where no deploy is recorded."""
    revision_state: str
    revision_time: str
    resources: tuple[ResourceStatus, ...]

    @property
    def ready(self) -> bool:
        """Whether all that is waited for is ready."""
        return all(each.state == "ready" for each in self.resources if each.reference.kind in WAITED)

    def to_json(self) -> dict[str, object]:
        """For programs."""
        return {
            "app": self.name,
            "namespace": self.namespace,
            "ready": self.ready,
            "revision": self.revision,
            "revisionState": self.revision_state,
            "revisionTime": self.revision_time,
            "resources": [
                {
                    "kind": each.reference.kind,
                    "namespace": each.reference.namespace,
                    "name": each.reference.name,
                    "state": each.state,
                    "reason": each.reason,
                    "detail": each.detail,
                }
                for each in self.resources
            ],
        }


async def cluster_status(api: ClusterApi, plan: Plan) -> list[AppStatus]:
    """How the plan's apps stand, in its order.

    Raises:
        RefusedError: the records of an app may not be read.
        UnavailableError: the cluster does not answer.
    """
    return [await _app(api, each) for each in plan.apps]


async def _app(api: ClusterApi, app: AppPlan) -> AppStatus:
    revisions = await History(api, app.name, app.namespace).revisions()
    last: Revision | None = revisions[-1] if revisions else None
    shown = [Reference.of(each) for each in app.resources if each["kind"] in _SHOWN]
    found = await all_of(lambda each: _one(api, each), shown)
    resources = tuple(
        ResourceStatus(reference, "unknown", each.message, "") if isinstance(each, RefusedError) else each
        for reference, each in zip(shown, found, strict=True)
    )
    return AppStatus(
        app.name,
        app.namespace,
        last.number if last else 0,
        last.state if last else "",
        last.time if last else "",
        resources,
    )


async def _one(api: ClusterApi, reference: Reference) -> ResourceStatus:
    live = (await api.find(Query.of(reference))).first
    state = readiness(live)
    return ResourceStatus(reference, state.state, state.reason, _detail(live) if live else "")


def _detail(live: Resource) -> str:
    status = live.get("status") or {}
    if live["kind"] == "Deployment":
        return f"{status.get('availableReplicas', 0)} of {live['spec'].get('replicas', 1)} replicas"
    return str(status.get("url") or "")
