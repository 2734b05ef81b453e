"""Which connections are let through, asked as a cluster's network would ask."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from headrace.manifests.options import RenderOptions, strimzi_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from headrace.manifests.resource import Resource
    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]
    Render = Callable[..., list[Resource]]


@dataclass(frozen=True)
class Pod:
    """One end of a connection: a pod by namespace and labels, or an address outside the cluster."""

    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    address: str = "10.9.9.9"


def pod(namespace: str, **labels: str) -> Pod:
    """A pod with these labels, ``__`` in their keys standing for ``/`` and ``_`` for ``.``."""
    return Pod(namespace, tuple((key.replace("__", "/").replace("_", "."), value) for key, value in labels.items()))


def own(role: str, namespace: str = "vision", name: str = "picture-labels") -> Pod:
    """A pod of the app."""
    return Pod(namespace, (("app.kubernetes.io/name", name), ("app.kubernetes.io/component", role)))


DISPATCHER, TRANSFORMER, PREDICTOR, COLLECTOR = (
    own(role) for role in ("dispatcher", "transformer", "predictor", "collector")
)
BROKER = pod("kafka", strimzi_io__cluster="kafka", strimzi_io__kind="Kafka")
GATEWAY = pod("istio-system", istio="ingressgateway")
OPERATOR = pod("kafka", name="strimzi-cluster-operator")
ISTIOD = pod("istio-system", app="istiod")
ACTIVATOR = pod("knative-serving", app="activator")
AUTOSCALER = pod("knative-serving", app="autoscaler")
DNS = pod("kube-system", **{"k8s-app": "kube-dns"})
PROMETHEUS = pod("monitoring", app="prometheus")
NEIGHBOUR = pod("vision", app="neighbour")
STRANGER = own("dispatcher", namespace="elsewhere")
INTERNET = Pod(address="203.0.113.7")
EVERYBODY = {
    "dispatcher": DISPATCHER, "transformer": TRANSFORMER, "predictor": PREDICTOR, "collector": COLLECTOR,
    "broker": BROKER, "operator": OPERATOR, "gateway": GATEWAY, "istiod": ISTIOD,
    "activator": ACTIVATOR, "autoscaler": AUTOSCALER,
    "dns": DNS, "prometheus": PROMETHEUS, "neighbour": NEIGHBOUR, "stranger": STRANGER, "internet": INTERNET,
}  # fmt: skip
OWN = ("dispatcher", "transformer", "predictor", "collector")
PORTS = (53, 80, 443, 4318, 8008, 8012, 8013, 8080, 8081, 8112, 8443, 9090, 9091, 9092, 9464, 15012, 15020, 22)


def selects(selector: dict[str, Any], labels: Iterable[tuple[str, str]]) -> bool:
    """Whether a label selector takes these labels."""
    return set(selector.get("matchLabels", {}).items()) <= set(labels)


def is_peer(peer: dict[str, Any], end: Pod, namespace: str) -> bool:
    """Whether a policy's peer means this end; ``namespace`` is the policy's own."""
    if "ipBlock" in peer:
        # Addresses in a cluster are pods', which plugins match by their labels, not by their numbers.
        return not end.namespace and ipaddress.ip_address(end.address) in ipaddress.ip_network(peer["ipBlock"]["cidr"])
    if "namespaceSelector" in peer:
        wanted = peer["namespaceSelector"]["matchLabels"].get("kubernetes.io/metadata.name", end.namespace)
    else:
        wanted = namespace
    return bool(end.namespace) and end.namespace == wanted and selects(peer.get("podSelector", {}), end.labels)


def lets(policies: Sequence[Resource], inner: Pod, outer: Pod, port: int, side: str) -> bool:
    """Whether ``inner``'s policies let a TCP connection through on one side (``Ingress`` or ``Egress``)."""
    mine = [
        each
        for each in policies
        if each["metadata"]["namespace"] == inner.namespace
        and side in each["spec"]["policyTypes"]
        and selects(each["spec"]["podSelector"], inner.labels)
    ]
    key = "from" if side == "Ingress" else "to"
    return not mine or any(
        any(is_peer(peer, outer, inner.namespace) for peer in rule[key])
        and any(each["port"] == port and each["protocol"] == "TCP" for each in rule["ports"])
        for each in mine
        for rule in each["spec"].get(side.lower(), [])
    )


def may(policies: Sequence[Resource], source: Pod, target: Pod, port: int) -> bool:
    """Whether a connection comes about: the source may leave for it, and the target may be reached by it."""
    return lets(policies, source, target, port, "Egress") and lets(policies, target, source, port, "Ingress")


def paths(policies: Sequence[Resource], among: dict[str, Pod] = EVERYBODY) -> set[tuple[str, str, int]]:
    """Every connection with one of the app's pods that comes about."""
    return {
        (one, other, port)
        for one, source in among.items()
        for other, target in among.items()
        for port in (*PORTS, *named(policies))
        if (one in OWN or other in OWN) and one != other and may(policies, source, target, port)
    }


def named(policies: Sequence[Resource]) -> set[int]:
    """Every port that a policy names."""
    rules = [rule for each in policies for side in ("ingress", "egress") for rule in each["spec"].get(side, [])]
    return {port["port"] for rule in rules for port in rule["ports"]}


def expected(*rows: tuple[str, str, Sequence[int]]) -> set[tuple[str, str, int]]:
    """The connections of a table, names of several ends separated by spaces."""
    return {
        (one, other, port)
        for sources, targets, ports in rows
        for one in sources.split()
        for other in targets.split()
        for port in ports
    }


QUEUE = (8012, 8013, 8112)
FLOW = (
    ("dispatcher", "broker", (9092,)),
    ("dispatcher transformer", "gateway", (8080, 8081, 8443)),
    ("dispatcher transformer", "activator", QUEUE),
    ("gateway activator dispatcher", "transformer predictor", QUEUE),
    ("transformer", "predictor", QUEUE),
    ("autoscaler", "transformer predictor", (9090,)),
    ("dispatcher transformer predictor", "collector", (4318,)),
    ("activator autoscaler", "collector", (4318,)),
    ("dispatcher transformer predictor collector", "dns", (53,)),
)


def test_only_the_paths_of_the_flow_are_open(plain: MakeApp, resources: Render) -> None:
    """Of all connections between the app, its neighbours, strangers and the internet, those of the flow come about."""
    app = plain(network={}, tracing={}, metrics={})
    scraped = (("prometheus", "transformer predictor", (8080, 9091)), ("prometheus", "dispatcher", (9464,)))
    assert paths(resources(app, "NetworkPolicy")) == expected(*FLOW, *scraped)


def test_with_a_mesh_scrapes_go_to_the_sidecar(plain: MakeApp, resources: Render) -> None:
    """A server's own port stays shut to Prometheus; each sidecar reaches its control plane."""
    app = plain(network={}, tracing={}, metrics={}, mesh={})
    more = (
        ("prometheus", "transformer predictor dispatcher", (15020,)),
        ("dispatcher transformer predictor collector", "istiod", (15012,)),
    )
    assert paths(resources(app, "NetworkPolicy")) == expected(*FLOW, *more)


def test_without_scrapes_and_traces_nothing_is_open_for_them(plain: MakeApp, resources: Render) -> None:
    """Each path is there for one concern, and goes with it."""
    found = paths(resources(plain(network={}), "NetworkPolicy"))
    assert not [each for each in found if {"prometheus"} & set(each[:2]) or each[2] == 4318]


def test_without_a_transformer_the_chain_is_shorter(plain: MakeApp, resources: Render) -> None:
    """What is not there has no policy, and nobody may call in its name."""
    policies = resources(plain(network={}, transformer=None), "NetworkPolicy")
    assert may(policies, DISPATCHER, PREDICTOR, 8012)
    assert not may(policies, TRANSFORMER, PREDICTOR, 8012)
    assert {each["metadata"]["name"] for each in policies} == {
        "picture-labels-default-deny", "picture-labels-dispatcher", "picture-labels-predictor",
    }  # fmt: skip


def test_where_knative_delivers_its_own_pods_come(plain: MakeApp, resources: Render) -> None:
    """To the head of the chain, and there is no dispatcher to have rights of its own."""
    eventing = pod("knative-eventing", app="kafka-broker-dispatcher")
    policies = resources(plain(network={}, trigger={"delivery": "knative-broker"}), "NetworkPolicy")
    assert may(policies, eventing, TRANSFORMER, 8012)
    assert not may(policies, eventing, PREDICTOR, 8012)
    assert not may(policies, DISPATCHER, BROKER, 9092)
    assert not may(policies, DISPATCHER, TRANSFORMER, 8012)
    with_dispatcher = resources(plain(network={}), "NetworkPolicy")
    assert not may(with_dispatcher, eventing, TRANSFORMER, 8012)


def test_in_one_pod_the_chain_has_one_policy(plain: MakeApp, resources: Render) -> None:
    """A collocated transformer is called in the predictor's pod, which is scraped at both servers."""
    beside = {"collocated": True, "scale": None}
    policies = resources(plain(network={}, metrics={}, transformer=beside), "NetworkPolicy")
    assert {each["metadata"]["name"] for each in policies} == {
        "picture-labels-default-deny", "picture-labels-dispatcher", "picture-labels-predictor",
    }  # fmt: skip
    assert may(policies, GATEWAY, PREDICTOR, 8012)
    assert may(policies, PROMETHEUS, PREDICTOR, 8085)


def test_an_unforeseen_pod_of_the_app_reaches_nobody(plain: MakeApp, resources: Render) -> None:
    """The default is nothing, also for pods of tomorrow; pods of others in the namespace are not ours to bound."""
    policies = resources(plain(network={}), "NetworkPolicy")
    assert not may(policies, own("tomorrow"), INTERNET, 443)
    assert not may(policies, ACTIVATOR, own("tomorrow"), 8012)
    assert may(policies, NEIGHBOUR, INTERNET, 443)


def test_in_a_namespace_of_its_own_nobody_else_is_let_through(plain: MakeApp, resources: Render) -> None:
    """With isolation the default covers the namespace, and a certificate's challenge is still answered."""
    app = plain(network={}, isolation={}, domain={"host": "p.example.com"})
    policies = resources(app, "NetworkPolicy")
    solver = Pod("vision", (("acme.cert-manager.io/http01-solver", "true"),))
    assert not may(policies, NEIGHBOUR, INTERNET, 443)
    assert may(policies, GATEWAY, solver, 8089)
    assert not may(policies, STRANGER, solver, 8089)
    assert may(policies, DISPATCHER, BROKER, 9092)


@pytest.mark.parametrize(
    ("model", "port"),
    [("s3://b/m", 443), ("hf://o/m", 443), ("http://x/m", 80), ("pvc://c/m", None), ("pypi://a==1/b", None)],
)
def test_a_model_is_fetched_on_the_port_of_its_store(
    plain: MakeApp, resources: Render, model: str, port: int | None
) -> None:
    """KServe's initializer runs in the predictor's pod; a model that is there already opens nothing."""
    policies = resources(plain(network={}, predictor={"model": model}), "NetworkPolicy")
    assert [each for each in PORTS if may(policies, PREDICTOR, INTERNET, each)] == ([port] if port else [])
    assert not [each for each in PORTS if may(policies, TRANSFORMER, INTERNET, each)]


def test_further_places_are_open_by_name(plain: MakeApp, resources: Render) -> None:
    """A feature store of the user's: for the code that needs it, on its port alone, not for the dispatcher."""
    policies = resources(plain(network={"egress": [{"cidr": "203.0.113.0/24", "port": 22}]}), "NetworkPolicy")
    for source, reached in ((PREDICTOR, True), (TRANSFORMER, True), (DISPATCHER, False)):
        assert may(policies, source, INTERNET, 22) is reached
    assert not may(policies, PREDICTOR, INTERNET, 443)


@pytest.mark.parametrize(
    ("kafka", "target", "port"),
    [
        ("203.0.113.7:9092", INTERNET, 9092),
        ("kafka.example.com:9092", INTERNET, 9092),
        ("broker.data.svc.cluster.local:9092", pod("data", app="redpanda"), 9092),
        ("main-kafka-bootstrap.data.svc:9092", pod("data", strimzi_io__cluster="main", strimzi_io__kind="Kafka"), 9092),
    ],
)
def test_any_kafka_is_reached_and_nothing_beside_it(
    plain: MakeApp, resources: Render, kafka: str, target: Pod, port: int
) -> None:
    """A policy knows no names: an address is itself, a service its namespace, another name any address on its port."""
    options = RenderOptions(kafka=kafka, strimzi=strimzi_of(kafka))
    policies = resources(plain(network={}), "NetworkPolicy", options)
    assert may(policies, DISPATCHER, target, port)
    assert not may(policies, DISPATCHER, target, 22)
    assert not may(policies, DISPATCHER, BROKER, 9092)
    assert not may(policies, PREDICTOR, target, port)


def test_spans_go_where_they_are_told(plain: MakeApp, resources: Render) -> None:
    """To a collector that is there already, or through the app's own on to a backend."""
    policies = resources(plain(network={}, tracing={"endpoint": "http://otel.tools.svc:4318"}), "NetworkPolicy")
    assert may(policies, PREDICTOR, pod("tools", app="otel"), 4318)
    export = {"collector": {"export": "http://tempo.tools.svc:4318"}}
    policies = resources(plain(network={}, tracing=export), "NetworkPolicy")
    assert may(policies, COLLECTOR, pod("tools", app="tempo"), 4318)
    assert not may(policies, PREDICTOR, pod("tools", app="tempo"), 4318)


def test_names_are_looked_up_by_udp_and_tcp(plain: MakeApp, resources: Render) -> None:
    """A long answer comes by TCP."""
    for each in resources(plain(network={}), "NetworkPolicy"):
        for rule in each["spec"].get("egress", []):
            ports = {(port["protocol"], port["port"]) for port in rule["ports"]}
            assert ports.isdisjoint({("UDP", 53)}) or ports == {("UDP", 53), ("TCP", 53)}


def test_the_evaluator_refuses_what_policies_refuse() -> None:
    """Without a policy all is open; a policy without rules shuts; else the tests above would say nothing."""
    spec: dict[str, Any] = {"podSelector": {}, "policyTypes": ["Ingress"]}
    shut = {"kind": "NetworkPolicy", "metadata": {"namespace": "vision"}, "spec": spec}
    assert may([], STRANGER, PREDICTOR, 22)
    assert not may([shut], STRANGER, PREDICTOR, 22)
    assert may([shut], PREDICTOR, STRANGER, 22)
