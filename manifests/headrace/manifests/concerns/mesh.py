"""Istio: every connection encrypted and both its ends known, and who may call what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.manifests.concerns import places
from headrace.manifests.concerns.access import roles
from headrace.manifests.concerns.additions import NOTHING, PodAdditions
from headrace.manifests.concerns.network import callers_of
from headrace.manifests.resource import Resource, metadata, resource

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.parts.security import Jwt
    from headrace.manifests.spec import InferenceApp

API = "security.istio.io/v1"
PATHS = ("/", "/v1/models/*", "/v2", "/v2/*")
"""What a model server answers: CloudEvents, KServe's v1, and v2 with its health. Not ``/metrics``."""


def mesh(app: InferenceApp, options: RenderOptions) -> list[Resource]:  # noqa: ARG001  # a concern's signature
    """PeerAuthentication of the app, one AuthorizationPolicy a role, and what callers from outside must show."""
    part = app.spec.mesh
    if part is None:
        return []
    selector = {"matchLabels": {"app.kubernetes.io/name": app.name}}
    spec = {"selector": selector, "mtls": {"mode": "STRICT"}}
    strict = resource(API, "PeerAuthentication", metadata(app, app.name, "mesh"), spec=spec)
    policies = [_policy(app, role) for role in roles(app)]
    return [strict, *policies, *(_callers(app, part.jwt) if part.jwt else [])]


def sidecar_additions(app: InferenceApp, options: RenderOptions, role: str) -> PodAdditions:  # noqa: ARG001  # an addition's signature
    """A sidecar in each pod, ready before the app: its first connection to Kafka would fail otherwise."""
    if app.spec.mesh is None:
        return NOTHING
    return PodAdditions(
        labels={"sidecar.istio.io/inject": "true"},
        annotations={"proxy.istio.io/config": "holdApplicationUntilProxyStarts: true\n"},
    )


def _policy(app: InferenceApp, role: str) -> Resource:
    """Who may call ``role``. ALLOW without a rule lets nobody in."""
    rules = {places.DISPATCHER: _nobody, places.COLLECTOR: _senders}.get(role, _chain)(app, role)
    spec: dict[str, Any] = {"selector": {"matchLabels": places.pods(app, role)}, "action": "ALLOW"}
    if rules:
        spec["rules"] = rules
    return resource(API, "AuthorizationPolicy", metadata(app, f"{app.name}-{role}", role), spec=spec)


def _nobody(app: InferenceApp, role: str) -> list[dict[str, Any]]:  # noqa: ARG001  # as the others
    return []


def _senders(app: InferenceApp, role: str) -> list[dict[str, Any]]:  # noqa: ARG001  # as the others
    source = {"principals": [places.principal(app, each) for each in places.pod_roles(app)]}
    spans = {"methods": ["POST"], "paths": ["/v1/traces"]}
    from_knative = {"namespaces": [places.KNATIVE]}
    return [{"from": [{"source": source}, {"source": from_knative}], "to": [{"operation": spans}]}]


def _chain(app: InferenceApp, role: str) -> list[dict[str, Any]]:
    """The app's own callers, the gateway in front of them, and Knative.

    The activator hands on the calls of others and probes whether a pod is ready (a GET with ``K-Network-Probe``), the
    autoscaler reads ``/metrics``: they need every path. Kubelet's probes do not pass through here.
    """
    sources: list[dict[str, Any]] = [{"source": {"namespaces": [places.ISTIO]}}]
    if own := [places.principal(app, each) for each in callers_of(app, role)]:
        sources.append({"source": {"principals": own}})
    if not places.has_dispatcher(app) and role == places.entry_role(app):
        sources.append({"source": {"namespaces": [places.EVENTING]}})
    calls = {"methods": ["GET", "POST"], "paths": [*PATHS, places.PROBE]}
    return [
        {"from": sources, "to": [{"operation": calls}]},
        {"from": [{"source": {"namespaces": [places.KNATIVE]}}]},
    ]


def _callers(app: InferenceApp, jwt: Jwt) -> list[Resource]:
    """At the gateway, where callers from outside can still be told from the dispatcher; for the domain's host alone.

    The gateway then refuses tokens of issuers that nobody has told it of, for its other hosts as well.
    """
    domain = app.spec.domain
    assert domain is not None
    name = f"{app.namespace}-{app.name}-jwt"
    selector = {"matchLabels": dict(places.GATEWAY)}
    keys = {"jwksUri": jwt.jwks_uri} if jwt.jwks_uri else {}
    rule = {"issuer": jwt.issuer, **keys, "audiences": jwt.audiences or [domain.host], "forwardOriginalToken": False}
    about = metadata(app, name, "mesh", namespace=places.ISTIO)
    request = resource(API, "RequestAuthentication", about, spec={"selector": selector, "jwtRules": [rule]})
    stranger = {"notRequestPrincipals": [f"{jwt.issuer}/*"]}
    refused = {
        "from": [{"source": stranger}],
        "to": [
            {"operation": {"hosts": [domain.host, f"{domain.host}:*"], "notPaths": [places.PROBE, places.CHALLENGE]}}
        ],
    }
    spec = {"selector": dict(selector), "action": "DENY", "rules": [refused]}
    about = metadata(app, name, "mesh", namespace=places.ISTIO)
    return [request, resource(API, "AuthorizationPolicy", about, spec=spec)]
