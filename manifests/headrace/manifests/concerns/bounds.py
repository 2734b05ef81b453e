"""What an administrator holds of an app, and its deployers may read: so that they see that nothing of it is to change.

Roles, quotas, the namespace, what stands at the gateway and what is cluster-wide set bounds for a deployer as well. An
administrator deploys them, the first time and whenever they change; every other deploy is the deployers' own.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from headrace.manifests.concerns.access import DEPLOYED, RBAC, TOPICS, access, role_name, subjects
from headrace.manifests.concerns.disruption import disruption
from headrace.manifests.concerns.domain import domain
from headrace.manifests.concerns.isolation import isolation
from headrace.manifests.concerns.mesh import mesh
from headrace.manifests.concerns.protection import protection
from headrace.manifests.concerns.quota import quota
from headrace.manifests.concerns.shared import cluster_metadata
from headrace.manifests.model_cache import model_cache
from headrace.manifests.resource import Resource, metadata, resource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp

    Held = dict[tuple[str, str], set[str]]
    """Names by API group and resource."""

_CONCERNS = (isolation, quota, access, mesh, domain, protection, disruption, model_cache)
"""Those that render something which is not a deployer's to write."""


def bounds(app: InferenceApp, options: RenderOptions) -> list[Resource]:
    """For each namespace, and for what is in none, the right to read by name; nothing where nobody deploys."""
    if app.spec.access is None or not app.spec.access.deployers:
        return []
    places: defaultdict[str, Held] = defaultdict(lambda: defaultdict(set))
    for each in (each for concern in _CONCERNS for each in concern(app, options)):
        group, plural = each["apiVersion"].rpartition("/")[0], plural_of(each["kind"])
        namespace = _place_of(each)
        if plural not in _written(app, options, namespace).get(group, ()):
            places[namespace][group, plural].add(each["metadata"]["name"])
    return [each for place, held in sorted(places.items()) for each in _rights(app, place, held)]


def plural_of(kind: str) -> str:
    """The name of a kind in addresses and in roles, for the kinds that Headrace renders."""
    word = kind.lower()
    if word.endswith("y"):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith("s") else f"{word}s"


def _place_of(resource: Resource) -> str:
    """Its namespace; of a namespace, itself, since the API server looks for rights on one there."""
    about = resource["metadata"]
    return str(about["name"] if resource["kind"] == "Namespace" else about.get("namespace", ""))


def _written(app: InferenceApp, options: RenderOptions, namespace: str) -> dict[str, tuple[str, ...]]:
    """What a deployer writes in a namespace."""
    own = DEPLOYED if namespace == app.namespace else {}
    topics = TOPICS if options.strimzi and namespace == options.strimzi.namespace else {}
    return {**own, **topics}


def _rights(app: InferenceApp, place: str, held: Held) -> Iterable[Resource]:
    """The role and its binding, which are themselves among what is held."""
    kind = "Role" if place else "ClusterRole"
    name = role_name(app, "bounds", place)
    for each in (kind, f"{kind}Binding"):
        held[RBAC, plural_of(each)].add(name)
    rules = [
        {"apiGroups": [group], "resources": [plural], "resourceNames": sorted(names), "verbs": ["get"]}
        for (group, plural), names in sorted(held.items())
    ]
    people = subjects(app, app.spec.access.deployers if app.spec.access else [])
    yield resource(f"{RBAC}/v1", kind, _about(app, name, place), rules=rules)
    yield resource(
        f"{RBAC}/v1",
        f"{kind}Binding",
        _about(app, name, place),
        roleRef={"apiGroup": RBAC, "kind": kind, "name": name},
        subjects=people,
    )


def _about(app: InferenceApp, name: str, place: str) -> Resource:
    return metadata(app, name, "access", namespace=place) if place else cluster_metadata(app, name, "access")
