"""Who may do what in the cluster: service accounts without rights, roles for people, Knative's address resolver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.manifests.concerns.additions import NOTHING, PodAdditions
from headrace.manifests.concerns.places import COLLECTOR, account, has_accounts, has_dispatcher, pod_roles
from headrace.manifests.concerns.shared import shared_metadata
from headrace.manifests.parts.security import Access
from headrace.manifests.resource import Resource, metadata, resource

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from headrace.manifests.options import RenderOptions
    from headrace.manifests.parts.security import Subject
    from headrace.manifests.spec import InferenceApp

RBAC = "rbac.authorization.k8s.io"
RESOLVER = "headrace-addressable-resolver"
_READ = ("get", "list", "watch")
_WRITE = (*_READ, "create", "patch", "update", "delete")
DEPLOYED: dict[str, tuple[str, ...]] = {
    "": ("configmaps", "serviceaccounts", "services"),
    "apps": ("deployments",),
    "cert-manager.io": ("certificates",),
    "eventing.knative.dev": ("brokers", "kafkasinks", "triggers"),
    "external-secrets.io": ("externalsecrets",),
    "keda.sh": ("scaledobjects", "triggerauthentications"),
    "monitoring.coreos.com": ("podmonitors", "prometheusrules"),
    "networking.k8s.io": ("networkpolicies",),
    "policy": ("poddisruptionbudgets",),
    "security.istio.io": ("authorizationpolicies", "peerauthentications"),
    "serving.knative.dev": ("domainmappings",),
    "serving.kserve.io": ("inferenceservices",),
    "sources.knative.dev": ("kafkasources",),
}
"""What a deployer writes in the app's namespace: the kinds that Headrace renders. What sets bounds for the deployer as
well is an administrator's (``concerns/bounds.py``)."""
WATCHED = {
    "": ("events", "pods", "pods/log", "services"),
    "autoscaling.internal.knative.dev": ("podautoscalers",),
    "serving.knative.dev": ("configurations", "revisions", "routes", "services"),
}
"""What is looked at to see how the app fares."""
TOPICS: dict[str, tuple[str, ...]] = {"kafka.strimzi.io": ("kafkatopics", "kafkausers")}


def access(app: InferenceApp, options: RenderOptions) -> list[Resource]:
    """ServiceAccounts of the app's pods, Roles and RoleBindings of its deployers and viewers."""
    resolver = [] if has_dispatcher(app) else [_resolver()]
    if not has_accounts(app):
        return resolver
    part = app.spec.access or Access()
    accounts = [_account(app, role, part) for role in roles(app) if account(app, role) == f"{app.name}-{role}"]
    if app.spec.access is None:
        return [*resolver, *accounts]
    deployer = [*_rules(DEPLOYED, _WRITE), *_rules(WATCHED, _READ)]
    viewer = [*_rules(DEPLOYED, _READ), *_rules(WATCHED, _READ)]
    found = [
        *_role(app, role_name(app, "deployer", app.namespace), app.namespace, deployer, part.deployers),
        *_role(app, role_name(app, "viewer", app.namespace), app.namespace, viewer, part.viewers),
    ]
    if options.strimzi:
        place = options.strimzi.namespace
        rules = [*_rules(TOPICS, _WRITE), *_rules({"kafka.strimzi.io": ("kafkas",)}, ["get"])]
        found += _role(app, role_name(app, "topics", place), place, rules, part.deployers)
    return [*resolver, *accounts, *found]


def role_name(app: InferenceApp, role: str, place: str) -> str:
    """A role's name, unlike that of any other app in a namespace that others share."""
    return f"{app.name}-{role}" if place == app.namespace else f"{app.namespace}-{app.name}-{role}"


def roles(app: InferenceApp) -> tuple[str, ...]:
    """Every kind of pod that the app brings, the collector included."""
    collects = app.spec.tracing is not None and not app.spec.tracing.endpoint
    return (*pod_roles(app), *((COLLECTOR,) if collects else ()))


def account_additions(app: InferenceApp, options: RenderOptions, role: str) -> PodAdditions:  # noqa: ARG001  # an addition's signature
    """The service account in the pods of its role."""
    return PodAdditions(spec={"serviceAccountName": account(app, role)}) if has_accounts(app) else NOTHING


def _account(app: InferenceApp, role: str, part: Access) -> Resource:
    content: dict[str, Any] = {"automountServiceAccountToken": False}
    if part.image_pull_secrets:
        content["imagePullSecrets"] = [{"name": name} for name in part.image_pull_secrets]
    if role == "predictor" and part.storage_secrets:
        content["secrets"] = [{"name": name} for name in part.storage_secrets]
    return resource("v1", "ServiceAccount", metadata(app, account(app, role), role), **content)


def _rules(kinds: Mapping[str, tuple[str, ...]], verbs: Iterable[str]) -> list[dict[str, list[str]]]:
    return [{"apiGroups": [group], "resources": list(names), "verbs": list(verbs)} for group, names in kinds.items()]


def _role(
    app: InferenceApp, name: str, namespace: str, rules: list[dict[str, list[str]]], people: list[Subject]
) -> list[Resource]:
    """The Role, and who has it where somebody is named: a role without a binding gives nobody anything."""
    about = metadata(app, name, "access", namespace=namespace)
    found = [resource(f"{RBAC}/v1", "Role", about, rules=rules)]
    if people:
        found.append(
            resource(
                f"{RBAC}/v1",
                "RoleBinding",
                metadata(app, name, "access", namespace=namespace),
                roleRef={"apiGroup": RBAC, "kind": "Role", "name": name},
                subjects=subjects(app, people),
            )
        )
    return found


def subjects(app: InferenceApp, people: Iterable[Subject]) -> list[dict[str, str]]:
    """Who a binding gives its role to."""
    return [_subject(app, each) for each in people]


def _subject(app: InferenceApp, subject: Subject) -> dict[str, str]:
    if subject.kind == "ServiceAccount":
        return {"kind": subject.kind, "name": subject.name, "namespace": subject.namespace or app.namespace}
    return {"kind": subject.kind, "name": subject.name, "apiGroup": RBAC}


def _resolver() -> Resource:
    """Knative may look up an InferenceService's address: it adds up every ClusterRole with this label.

    KServe's Helm chart brings the same; its plain manifests do not.
    """
    about = shared_metadata(RESOLVER, "access")
    about["labels"]["duck.knative.dev/addressable"] = "true"
    rules = _rules({"serving.kserve.io": ("inferenceservices", "inferenceservices/status")}, _READ)
    return resource(f"{RBAC}/v1", "ClusterRole", about, rules=rules)
