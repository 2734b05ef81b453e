"""The resources of a cluster, and what becomes of them.

One owner: the event loop. Everything here runs without waiting, so a request is one step.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.manifests.cluster.api import Access
from headrace.manifests.cluster.reference import Reference, group_of
from headrace.testing.cluster import ownership
from headrace.testing.cluster.kinds import Kinds, all_kinds

if TYPE_CHECKING:
    from headrace.manifests.cluster.api import ApiKind, Query
    from headrace.manifests.resource import Resource

Identity = tuple[str, str, str, str]
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")


class StatusError(Exception):
    """The server refuses; ``body`` is the ``Status`` that it answers with."""

    def __init__(self, status: int, reason: str, message: str, causes: list[Resource] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: Resource = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": {"causes": causes or []},
            "code": status,
        }


@dataclass(slots=True)
class Kept:
    """One resource, and who owns its fields."""

    resource: Resource
    owners: ownership.Owners = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """One event for watchers."""

    version: int
    what: str
    """``ADDED``, ``MODIFIED`` or ``DELETED``."""
    resource: Resource


Rule = Callable[[Access], bool]
Check = Callable[["Resource"], str | None]


class ClusterStore:
    """A cluster's resources.

    Args:
        version: Of Kubernetes, ``MAJOR.MINOR``.
        namespaces: The namespaces that are there from the start.
    """

    def __init__(self, *, version: str = "1.34", namespaces: tuple[str, ...] = ("default", "kafka")) -> None:
        self.version = version
        self.kinds: Kinds = all_kinds()
        """What is served; take kinds out to stand for what is not installed."""
        self.forbidden: list[Rule] = []
        """Each says True of an access that is refused with 403."""
        self.checks: list[Check] = []
        """Each may say what is wrong with an applied resource: refused with 422."""
        self.listeners: list[Callable[[Resource], None]] = []
        """Called with each resource that was made, or whose generation changed: for scripts in place of operators."""
        self.told: list[Told] = []
        self.oldest = 0
        """Watches from before this version are gone."""
        self.changed = asyncio.Event()
        """Set, and replaced by another, whenever something is told."""
        self._kept: dict[Identity, Kept] = {}
        self._clock = 0
        for name in namespaces:
            self.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    @property
    def clock(self) -> int:
        """The newest ``resourceVersion``."""
        return self._clock

    def get(self, kind: str, name: str, namespace: str = "") -> Resource | None:
        """The one resource of this kind and name, whatever its group; None where there is none."""
        for (_, its_kind, its_namespace, its_name), kept in self._kept.items():
            if (its_kind, its_namespace, its_name) == (kind, namespace, name):
                return self._shown(kept)
        return None

    def references(self) -> list[Reference]:
        """What is there."""
        return sorted(Reference.of(kept.resource) for kept in self._kept.values())

    def find(self, query: Query) -> list[Resource]:
        """The resources of a query.

        Raises:
            StatusError: it is forbidden, or its kind is not served.
        """
        kind = self.served(query.api_version, query.kind)
        verb = "get" if query.name else "list"
        self.allow(verb, group_of(query.api_version), kind.plural, query.namespace, query.name)
        return [self._shown(kept) for kept in self._kept.values() if selected(kept.resource, query)]

    def apply(
        self, resource: Resource, manager: str, *, force: bool = False, dry_run: bool = False
    ) -> tuple[Resource, bool]:
        """The resource after a server-side apply, and whether it is new.

        Raises:
            StatusError: forbidden, in conflict, invalid, or in a namespace that is not there.
        """
        to = Reference.of(resource)
        kind = self.served(to.api_version, to.kind)
        self.allow("patch", to.group, kind.plural, to.namespace, to.name)
        kept = self._kept.get(to.identity)
        if kept is None:
            self.allow("create", to.group, kind.plural, to.namespace)
        self._check(resource, kind)
        wanted = ownership.fields(_spoken(resource))
        live = kept or Kept(_born(to, self._clock))
        if not force and (found := ownership.conflicts(live.resource, live.owners, wanted, manager)):
            raise _in_conflict(to, found)
        changed, owners = ownership.applied(live.resource, live.owners, wanted, manager)
        changed["apiVersion"] = to.api_version
        self._guard_immutable(live.resource, changed, to)
        if kept is None or changed != kept.resource or owners != kept.owners:
            after = self._write(Kept(changed, owners), kept, dry_run=dry_run)
            return self._shown(after), kept is None
        return self._shown(kept), False

    def update(self, kind: str, name: str, namespace: str = "", *, manager: str, **changes: Any) -> Resource:
        """Write values into a resource as somebody else does: ``kubectl edit``, an operator, an autoscaler."""
        kept = self._one(kind, name, namespace)
        changed, owners = ownership.updated(kept.resource, kept.owners, ownership.fields(changes), manager)
        return self._shown(self._write(Kept(changed, owners), kept))

    def set_status(self, kind: str, name: str, namespace: str = "", **status: Any) -> None:
        """Replace a resource's status."""
        kept = self._one(kind, name, namespace)
        if kept.resource.get("status") != status:
            self._write(Kept({**kept.resource, "status": deepcopy(status)}, kept.owners), kept)

    def put(self, resource: Resource) -> Resource:
        """A resource that is there without anybody of interest having made it."""
        to = Reference.of(resource)
        kept = self._kept.get(to.identity)
        owners: ownership.Owners = {("somebody", "Update"): frozenset(ownership.fields(_spoken(resource)))}
        about = {**_born(to, self._clock)["metadata"], **resource["metadata"]}
        return self._shown(self._write(Kept({**deepcopy(resource), "metadata": about}, owners), kept))

    def delete(self, reference: Reference) -> Resource:
        """Delete a resource and what it owns; one with finalizers is marked, and goes with the last of them.

        Raises:
            StatusError: it is forbidden, or not there.
        """
        kind = self.served(reference.api_version, reference.kind)
        self.allow("delete", reference.group, kind.plural, reference.namespace, reference.name)
        kept = self._kept.get(reference.identity)
        if kept is None:
            raise StatusError(404, "NotFound", f'{kind.plural} "{reference.name}" not found')
        if kept.resource["metadata"].get("finalizers"):
            marked = deepcopy(kept.resource)
            marked["metadata"].setdefault("deletionTimestamp", "2024-01-01T00:00:00Z")
            return self._shown(self._write(Kept(marked, kept.owners), kept))
        return self._remove(kept)

    def release(self, kind: str, name: str, namespace: str = "") -> None:
        """Take the finalizers off, as the operator does that has cleaned up."""
        kept = self._one(kind, name, namespace)
        changed = deepcopy(kept.resource)
        changed["metadata"].pop("finalizers", None)
        after = self._write(Kept(changed, kept.owners), kept)
        if changed["metadata"].get("deletionTimestamp"):
            self._remove(after)

    def forget(self) -> None:
        """Compact the history: watches from before now are gone (410)."""
        self.told.clear()
        self.oldest = self._clock
        self._wake()

    def served(self, api_version: str, kind: str) -> ApiKind:
        """The kind.

        Raises:
            StatusError: it is not served.
        """
        found = self.kinds.get((api_version, kind))
        if found is None:
            raise StatusError(404, "NotFound", "the server could not find the requested resource")
        return found

    def allow(self, verb: str, group: str, plural: str, namespace: str, name: str = "") -> None:
        """Nothing. The right on one namespace is looked for in that namespace.

        Raises:
            StatusError: a rule forbids it.
        """
        place = name if plural == "namespaces" else namespace
        if self.denies(Access(verb, group, plural, place, name)):
            where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
            what = (
                f'{plural}{"." if group else ""}{group} is forbidden: User "tester" cannot {verb} resource "{plural}"'
            )
            raise StatusError(403, "Forbidden", f'{what} in API group "{group}"{where}')

    def denies(self, access: Access) -> bool:
        """Whether a rule forbids it."""
        return any(rule(access) for rule in self.forbidden)

    def _check(self, resource: Resource, kind: ApiKind) -> None:
        to = Reference.of(resource)
        if kind.namespaced and ("", "Namespace", "", to.namespace) not in self._kept:
            raise StatusError(404, "NotFound", f'namespaces "{to.namespace}" not found')
        said = [f'metadata.name: Invalid value: "{to.name}"'] if not _NAME.match(to.name) else []
        said += [wrong for check in self.checks if (wrong := check(resource))]
        if said:
            causes = [{"reason": "FieldValueInvalid", "message": each} for each in said]
            raise StatusError(422, "Invalid", f'{to.kind} "{to.name}" is invalid: {"; ".join(said)}', causes)

    @staticmethod
    def _guard_immutable(live: Resource, changed: Resource, to: Reference) -> None:
        if live.get("immutable") and any(live.get(key) != changed.get(key) for key in ("data", "binaryData")):
            raise StatusError(422, "Invalid", f'{to.kind} "{to.name}" is invalid: data: field is immutable')

    def _one(self, kind: str, name: str, namespace: str) -> Kept:
        for identity, kept in self._kept.items():
            if identity[1:] == (kind, namespace, name):
                return kept
        raise KeyError(f"{kind} {namespace}/{name}")

    def _write(self, after: Kept, before: Kept | None, *, dry_run: bool = False) -> Kept:
        about = after.resource["metadata"] = dict(after.resource["metadata"])
        renewed = before is None or _content(before.resource) != _content(after.resource)
        if renewed:
            about["generation"] = about.get("generation", 0) + 1
        if dry_run:
            return after
        self._clock += 1
        about["resourceVersion"] = str(self._clock)
        self._kept[Reference.of(after.resource).identity] = after
        self._tell("ADDED" if before is None else "MODIFIED", after)
        if renewed:
            for listener in self.listeners:
                listener(self._shown(after))
        return after

    def _remove(self, kept: Kept) -> Resource:
        del self._kept[Reference.of(kept.resource).identity]
        self._clock += 1
        kept.resource["metadata"]["resourceVersion"] = str(self._clock)
        self._tell("DELETED", kept)
        uid = kept.resource["metadata"]["uid"]
        for each in list(self._kept.values()):
            if any(owner.get("uid") == uid for owner in each.resource["metadata"].get("ownerReferences", [])):
                self._remove(each)
        return self._shown(kept)

    def _tell(self, what: str, kept: Kept) -> None:
        self.told.append(Told(self._clock, what, self._shown(kept)))
        self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    @staticmethod
    def _shown(kept: Kept) -> Resource:
        shown = deepcopy(kept.resource)
        if kept.owners:
            shown["metadata"]["managedFields"] = ownership.managed_fields(shown["apiVersion"], kept.owners)
        return shown


def selected(resource: Resource, query: Query) -> bool:
    """Whether a query asks for this resource."""
    to = Reference.of(resource)
    labels: Mapping[str, str] = resource["metadata"].get("labels", {})
    return (
        to.kind == query.kind
        and to.group == group_of(query.api_version)
        and query.namespace in ("", to.namespace)
        and query.name in ("", to.name)
        and all(labels.get(name) == value for name, value in query.labels.items())
    )


def _spoken(resource: Resource) -> Resource:
    """What is said of the resource, without its status and what the server adds."""
    kept = ("labels", "annotations", "finalizers", "ownerReferences")
    about = {key: value for key, value in resource["metadata"].items() if key in kept}
    return {**{key: value for key, value in resource.items() if key != "status"}, "metadata": about}


def _content(resource: Resource) -> Resource:
    """What a change of makes a new generation."""
    return {key: value for key, value in resource.items() if key not in ("apiVersion", "metadata", "status")}


def _born(to: Reference, clock: int) -> Resource:
    about: Resource = {"name": to.name, "uid": f"uid-{clock + 1}", "creationTimestamp": "2024-01-01T00:00:00Z"}
    if to.namespace:
        about["namespace"] = to.namespace
    return {"apiVersion": to.api_version, "kind": to.kind, "metadata": about}


def _in_conflict(to: Reference, found: list[tuple[str, ownership.Path]]) -> StatusError:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f'conflict with "{manager}" using {to.api_version}',
            "field": "." + ".".join(path),
        }
        for manager, path in found
    ]
    count = f"{len(causes)} conflict" + ("s" if len(causes) > 1 else "")
    return StatusError(409, "Conflict", f"Apply failed with {count}: {causes[0]['message']}", causes)
