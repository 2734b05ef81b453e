"""Who may call what, asked as Istio's proxies ask: first what is denied, then, where anything is listed, the list."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.manifests.resource import Resource
    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]
    Render = Callable[..., list[Resource]]

HOST = "pictures.example.com"
ISSUER = "https://id.example.com"
GATEWAY_POD = ("istio-system", {"istio": "ingressgateway"})


@dataclass(frozen=True)
class Request:
    """A request as a proxy sees it."""

    namespace: str = ""
    """The caller's; empty for one without mutual TLS."""
    account: str = "default"
    method: str = "POST"
    path: str = "/"
    host: str = "picture-labels.vision.svc.cluster.local"
    token: str = ""
    """The verified token's issuer/subject."""
    headers: dict[str, str] = field(default_factory=dict)


def own(role: str, **more: Any) -> Request:
    """A request of one of the app's own parts."""
    return Request("vision", f"picture-labels-{role}", **more)


def matches(patterns: Sequence[str], value: str) -> bool:
    """Exact, or with ``*`` at an end; ``*`` alone is any value but none."""
    return bool(value) and any(fnmatchcase(value, pattern.replace("[", "[[]")) for pattern in patterns)


def is_source(source: dict[str, Any], request: Request) -> bool:
    """Whether all that a source says is true of the caller."""
    identity = f"cluster.local/ns/{request.namespace}/sa/{request.account}" if request.namespace else ""
    values = {"namespaces": request.namespace, "principals": identity, "requestPrincipals": request.token}
    return holds(source, values)


def holds(said: dict[str, list[str]], values: dict[str, str]) -> bool:
    """Whether each ``key`` matches and each ``notKey`` does not."""
    for key, patterns in said.items():
        negated = key.startswith("not")
        name = key[3].lower() + key[4:] if negated else key
        if matches(patterns, values[name]) is negated:
            return False
    return True


def is_rule(rule: dict[str, Any], request: Request) -> bool:
    """Whether one of its sources, one of its operations and all of its conditions fit."""
    values = {"methods": request.method, "paths": request.path, "hosts": request.host}
    conditions = [
        holds(
            {key: each[key] for key in ("values", "notValues") if key in each},
            {"values": request.headers.get(each["key"].removeprefix("request.headers[").removesuffix("]"), "")},
        )
        for each in rule.get("when", [])
    ]
    return (
        ("from" not in rule or any(is_source(each["source"], request) for each in rule["from"]))
        and ("to" not in rule or any(holds(each["operation"], values) for each in rule["to"]))
        and all(conditions)
    )


def allowed(resources: Sequence[Resource], pod: tuple[str, dict[str, str]], request: Request) -> bool:
    """Whether the proxy of a pod lets the request in."""
    namespace, labels = pod
    policies = [
        each["spec"]
        for each in resources
        if each["kind"] == "AuthorizationPolicy"
        and each["metadata"]["namespace"] == namespace
        and set(each["spec"]["selector"]["matchLabels"].items()) <= set(labels.items())
    ]
    denied = any(is_rule(rule, request) for each in policies if each["action"] == "DENY" for rule in each["rules"])
    lists = [each.get("rules", []) for each in policies if each["action"] == "ALLOW"]
    return not denied and (not lists or any(is_rule(rule, request) for rules in lists for rule in rules))


def pod(role: str) -> tuple[str, dict[str, str]]:
    """A pod of the app."""
    return "vision", {"app.kubernetes.io/name": "picture-labels", "app.kubernetes.io/component": role}


def test_the_chain_may_call_the_chain(plain: MakeApp, resources: Render) -> None:
    """Dispatcher to both, to send and to knock; transformer to predictor; the gateway in front; Knative everywhere."""
    found = resources(plain(mesh={}))
    for request, target in (
        (own("dispatcher"), "transformer"),
        (own("dispatcher", method="GET", path="/v2/health/ready"), "transformer"),
        (own("dispatcher", method="GET", path="/v2/health/ready"), "predictor"),
        (own("transformer", path="/v2/models/picture-labels/infer"), "predictor"),
        (own("transformer", path="/v1/models/picture-labels:predict"), "predictor"),
        (Request("istio-system", "istio-ingressgateway"), "transformer"),
        (Request("istio-system", "istio-ingressgateway", method="GET", path="/healthz"), "predictor"),
        (Request("knative-serving", "activator", method="GET", path="/"), "predictor"),
        (Request("knative-serving", "controller", method="GET", path="/metrics"), "transformer"),
    ):
        assert allowed(found, pod(target), request), request


def test_nobody_else_may_call(plain: MakeApp, resources: Render) -> None:
    """A neighbour in the namespace, a part of the app in the wrong direction, a caller whom nothing proves."""
    found = resources(plain(mesh={}, tracing={}))
    for request, target in (
        (Request("vision", "default"), "predictor"),
        (Request("vision", "other-transformer"), "predictor"),
        (Request("elsewhere", "picture-labels-transformer"), "predictor"),
        (Request(), "transformer"),
        (own("predictor"), "transformer"),
        (own("transformer"), "dispatcher"),
        (Request("knative-serving", "activator"), "dispatcher"),
        (Request("istio-system", "istio-ingressgateway", method="GET", path="/metrics"), "predictor"),
        (own("transformer", method="DELETE", path="/v2/models/picture-labels/infer"), "predictor"),
        (Request("vision", "default", path="/v1/traces"), "collector"),
        (own("predictor", method="GET", path="/"), "collector"),
    ):
        assert not allowed(found, pod(target), request), (request, target)
    assert allowed(found, pod("collector"), own("predictor", path="/v1/traces"))


def test_where_knative_delivers_its_own_pods_may_call(plain: MakeApp, resources: Render) -> None:
    """The head of the chain, and nothing behind it."""
    found = resources(plain(mesh={}, trigger={"delivery": "knative-broker"}))
    request = Request("knative-eventing", "kafka-broker-data-plane", path="/v1/models/picture-labels:predict")
    assert allowed(found, pod("transformer"), request)
    assert not allowed(found, pod("predictor"), request)
    assert not allowed(resources(plain(mesh={})), pod("transformer"), request)


def test_every_pod_takes_encrypted_connections_alone(plain: MakeApp, resources: Render) -> None:
    """STRICT for all pods of the app, each with a sidecar, and an identity of its own to be known by."""
    found = resources(plain(mesh={}))
    (strict,) = [each for each in found if each["kind"] == "PeerAuthentication"]
    assert strict["spec"] == {
        "selector": {"matchLabels": {"app.kubernetes.io/name": "picture-labels"}},
        "mtls": {"mode": "STRICT"},
    }
    pods = [each["spec"]["template"] for each in found if each["kind"] == "Deployment"]
    labels = [each["metadata"]["labels"] for each in pods]
    (service,) = [each["spec"] for each in found if each["kind"] == "InferenceService"]
    labels += [service[role]["labels"] for role in ("predictor", "transformer")]
    accounts = [each["spec"]["serviceAccountName"] for each in pods]
    accounts += [service[role]["serviceAccountName"] for role in ("predictor", "transformer")]
    assert all(each["sidecar.istio.io/inject"] == "true" for each in labels)
    made = {each["metadata"]["name"] for each in found if each["kind"] == "ServiceAccount"}
    assert len(set(accounts)) == 3
    assert set(accounts) == made


def from_outside(**more: Any) -> Request:
    """A request of a browser, say, to the app's domain."""
    return replace(Request(host=HOST, path="/v2/models/picture-labels/infer"), **more)


def test_callers_at_the_domain_show_a_token(plain: MakeApp, resources: Render) -> None:
    """Of the issuer named; the gateway's other hosts, challenges and probes stay as they are."""
    app = plain(domain={"host": HOST}, mesh={"jwt": {"issuer": ISSUER}})
    found = resources(app)
    assert not allowed(found, GATEWAY_POD, from_outside())
    assert not allowed(found, GATEWAY_POD, from_outside(host=f"{HOST}:443"))
    assert not allowed(found, GATEWAY_POD, from_outside(token="https://other.example.com/me"))
    assert allowed(found, GATEWAY_POD, from_outside(token=f"{ISSUER}/me"))
    assert allowed(found, GATEWAY_POD, from_outside(host="shop.example.com"))
    assert allowed(found, GATEWAY_POD, from_outside(method="GET", path="/.well-known/acme-challenge/x"))
    assert allowed(found, GATEWAY_POD, Request("vision", "picture-labels-dispatcher"))
    (request,) = [each["spec"] for each in found if each["kind"] == "RequestAuthentication"]
    assert request["selector"]["matchLabels"] == GATEWAY_POD[1]
    assert request["jwtRules"] == [{"issuer": ISSUER, "audiences": [HOST], "forwardOriginalToken": False}]


def test_keys_and_audiences_are_as_the_app_says(plain: MakeApp, resources: Render) -> None:
    """An issuer without discovery names its keys."""
    jwt = {"issuer": ISSUER, "jwksUri": f"{ISSUER}/keys", "audiences": ["labels"]}
    app = plain(domain={"host": HOST}, mesh={"jwt": jwt})
    (request,) = resources(app, "RequestAuthentication")
    (rule,) = request["spec"]["jwtRules"]
    assert (rule["jwksUri"], rule["audiences"]) == (f"{ISSUER}/keys", ["labels"])


def test_tokens_need_a_door(plain: MakeApp) -> None:
    """Without a domain nobody from outside comes, and a rule for them would guard nothing."""
    with pytest.raises(ValidationError, match="add domain"):
        plain(mesh={"jwt": {"issuer": ISSUER}})
    with pytest.raises(ValidationError, match="https://"):
        plain(domain={"host": HOST}, mesh={"jwt": {"issuer": "http://id.example.com"}})


@pytest.mark.parametrize(
    ("method", "path", "fine"),
    [
        ("POST", "/", True), ("POST", "/v1/models/picture-labels:predict", True), ("GET", "/v2/health/ready", True),
        ("OPTIONS", "/v2", True), ("GET", "/.well-known/acme-challenge/x", True), ("DELETE", "/v2/models/a", False),
        ("GET", "/metrics", False), ("GET", "/docs", False), ("POST", "/v3", False), ("GET", "/healthz", False),
        ("TRACE", "/", False),
    ],
)  # fmt: skip
def test_the_gateway_lets_through_what_a_model_answers(
    plain: MakeApp, resources: Render, method: str, path: str, fine: bool
) -> None:
    """All else is refused before it wakes a GPU; on other hosts nothing is."""
    found = resources(plain(domain={"host": HOST}, protection={}))
    assert allowed(found, GATEWAY_POD, from_outside(method=method, path=path)) is fine
    assert allowed(found, GATEWAY_POD, Request(method=method, path=path, host="shop.example.com"))


def test_knatives_probes_reach_the_route(plain: MakeApp, resources: Render) -> None:
    """A domain would never be ready otherwise: they come through the gateway, with a header that says so."""
    found = resources(plain(domain={"host": HOST}, protection={}, mesh={"jwt": {"issuer": ISSUER}}))
    probe = from_outside(method="GET", path="/healthz", headers={"K-Network-Probe": "probe"})
    assert allowed(found, GATEWAY_POD, probe)


def test_the_evaluator_refuses_what_policies_refuse() -> None:
    """An ALLOW without rules lets nobody in, a DENY beats it, no policy at all lets all in."""
    nobody: dict[str, Any] = {"selector": {"matchLabels": {}}, "action": "ALLOW"}
    policy = {"kind": "AuthorizationPolicy", "metadata": {"namespace": "vision"}, "spec": nobody}
    everybody = {**policy, "spec": {**nobody, "rules": [{}]}}
    deny = {**policy, "spec": {**nobody, "action": "DENY", "rules": [{"to": [{"operation": {"methods": ["POST"]}}]}]}}
    assert allowed([], pod("predictor"), Request())
    assert not allowed([policy], pod("predictor"), Request())
    assert allowed([everybody], pod("predictor"), Request())
    assert not allowed([everybody, deny], pod("predictor"), Request())
