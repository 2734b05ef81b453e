"""Which connections are let through: ``NetworkPolicy``, everything refused but the paths of the flow.

    producer → Kafka ← dispatcher → gateway → activator → transformer → gateway → activator → predictor

A NetworkPolicy sees addresses and ports after services are resolved, so ports here are those of pods.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from headrace.manifests.concerns import places
from headrace.manifests.concerns.access import roles
from headrace.manifests.concerns.isolation import owns_namespace
from headrace.manifests.concerns.shared import shared_metadata
from headrace.manifests.containers import BESIDE_PORT, transformer_apart
from headrace.manifests.resource import Resource, metadata, resource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp

    Rule = dict[str, Any]

_STORES = {"s3": 443, "gs": 443, "hf": 443, "https": 443, "http": 80, "hdfs": 8020, "webhdfs": 9870}
"""Ports on which KServe's initializer, in the predictor's pod, fetches a model; other stores stand in `egress`."""
_ANYWHERE = ({"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}})
_NODE_DNS = {"ipBlock": {"cidr": "169.254.20.10/32"}}
"""NodeLocal DNSCache, where a cluster has it."""


def network(app: InferenceApp, options: RenderOptions) -> list[Resource]:
    """A default of nothing, and one policy a role with what the role needs."""
    if app.spec.network is None:
        return []
    denied = [_nothing(metadata(app, f"{app.name}-default-deny", "network"), {"app.kubernetes.io/name": app.name})]
    if owns_namespace(app):
        denied.insert(0, _nothing(shared_metadata("headrace-default-deny", "network", namespace=app.namespace), {}))
    return [*denied, *(_policy(app, role, options) for role in roles(app)), *_challenge(app)]


def _nothing(about: Resource, labels: dict[str, str]) -> Resource:
    selector = {"matchLabels": labels} if labels else {}
    spec = {"podSelector": selector, "policyTypes": ["Ingress", "Egress"]}
    return resource("networking.k8s.io/v1", "NetworkPolicy", about, spec=spec)


def _policy(app: InferenceApp, role: str, options: RenderOptions) -> Resource:
    ingress = {places.DISPATCHER: _into_dispatcher, places.COLLECTOR: _into_collector}.get(role, _into_model)
    spec = {
        "podSelector": {"matchLabels": places.pods(app, role)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress(app, role),
        "egress": [*_out(app, role, options), *_everybody(app, role)],
    }
    about = metadata(app, f"{app.name}-{role}", role)
    return resource("networking.k8s.io/v1", "NetworkPolicy", about, spec=spec)


def _challenge(app: InferenceApp) -> list[Resource]:
    """The gateway to the pod that shows a certificate's issuer whose the host is; only where else nothing may."""
    if app.spec.domain is None or app.spec.domain.certificate == "secret" or not owns_namespace(app):
        return []
    spec = {
        "podSelector": {"matchLabels": dict(places.SOLVER)},
        "policyTypes": ["Ingress"],
        "ingress": [_from([_pods_in(places.ISTIO, places.GATEWAY)], (places.SOLVER_PORT,))],
    }
    about = metadata(app, f"{app.name}-challenge", "domain")
    return [resource("networking.k8s.io/v1", "NetworkPolicy", about, spec=spec)]


def _into_model(app: InferenceApp, role: str) -> list[Rule]:
    """Knative in front, its autoscaler, scrapes; and the caller itself where a mesh's sidecars go past the gateway."""
    callers = [_pods_in(places.KNATIVE, places.ACTIVATOR), _pods_in(places.ISTIO, places.GATEWAY)]
    callers += [{"podSelector": {"matchLabels": places.pods(app, each)}} for each in callers_of(app, role)]
    if not places.has_dispatcher(app) and role == places.entry_role(app):
        callers.append(_namespace(places.EVENTING))
    autoscaler = _pods_in(places.KNATIVE, {"app": "autoscaler"})
    scraped = _scrape(app, _metric_ports(app))
    return [_from(callers, places.QUEUE_PORTS), _from([autoscaler], (places.AUTOSCALER_PORT,)), *scraped]


def _metric_ports(app: InferenceApp) -> tuple[int, ...]:
    if app.spec.mesh:
        return (places.SIDECAR_METRICS_PORT,)
    beside = (BESIDE_PORT,) if app.spec.transformer and not transformer_apart(app) else ()
    return (places.SERVER_PORT, places.QUEUE_METRICS_PORT, *beside)


def _into_dispatcher(app: InferenceApp, role: str) -> list[Rule]:  # noqa: ARG001  # as the others
    port = places.SIDECAR_METRICS_PORT if app.spec.mesh else places.DISPATCHER_METRICS_PORT
    return _scrape(app, (port,))


def _into_collector(app: InferenceApp, role: str) -> list[Rule]:  # noqa: ARG001  # as the others
    own = [{"podSelector": {"matchLabels": places.pods(app, each)}} for each in places.pod_roles(app)]
    # Knative's own spans: of the activator, and of the queue-proxies, which are in the app's pods.
    return [_from([*own, _namespace(places.KNATIVE)], (places.OTLP_HTTP_PORT,))]


def callers_of(app: InferenceApp, role: str) -> tuple[str, ...]:
    """The roles of the app that call ``role``: a dispatcher also knocks at all of the chain, to wake it at once."""
    dispatcher = (places.DISPATCHER,) if places.has_dispatcher(app) else ()
    before = ("transformer",) if role == "predictor" and "transformer" in places.model_roles(app) else ()
    return (*dispatcher, *before)


def _scrape(app: InferenceApp, ports: Iterable[int]) -> list[Rule]:
    return [_from([_namespace(app.spec.metrics.namespace)], ports)] if app.spec.metrics else []


def _out(app: InferenceApp, role: str, options: RenderOptions) -> list[Rule]:
    if role == places.COLLECTOR:
        collector = app.spec.tracing.collector if app.spec.tracing else None
        return [_to_endpoint(collector.export)] if collector and collector.export else []
    called = [each for each in places.model_roles(app) if role in callers_of(app, each)]
    writes = role == places.DISPATCHER or app.spec.usage is not None
    found = [_kafka(server, options) for server in places.kafka_servers(options)] if writes else []
    if called:
        own = [{"podSelector": {"matchLabels": places.pods(app, each)}} for each in called]
        found.append(_to([_pods_in(places.ISTIO, places.GATEWAY)], places.GATEWAY_PORTS))
        found.append(_to([_pods_in(places.KNATIVE, places.ACTIVATOR), *own], places.QUEUE_PORTS))
    if role == "predictor":
        scheme = (app.spec.predictor.model or "").partition("://")[0]
        found += [_to(_ANYWHERE, (_STORES[scheme],))] if scheme in _STORES else []
    if role != places.DISPATCHER and app.spec.network:
        found += [_to([{"ipBlock": {"cidr": peer.cidr}}], (peer.port,)) for peer in app.spec.network.egress]
    return found


def _everybody(app: InferenceApp, role: str) -> list[Rule]:
    """What each role needs: names, its sidecar's control plane, and a place for its spans."""
    dns = [_pods_in("kube-system", {"k8s-app": "kube-dns"}), _NODE_DNS]
    ports = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    found: list[Rule] = [{"to": dns, "ports": ports}]
    if app.spec.mesh:
        found.append(_to([_pods_in(places.ISTIO, {"app": "istiod"})], (places.ISTIOD_PORT,)))
    tracing = app.spec.tracing
    if tracing and role != places.COLLECTOR:
        own = {"podSelector": {"matchLabels": places.pods(app, places.COLLECTOR)}}
        found.append(_to_endpoint(tracing.endpoint) if tracing.endpoint else _to([own], (places.OTLP_HTTP_PORT,)))
    return found


def _kafka(server: tuple[str, int], options: RenderOptions) -> Rule:
    host, port = server
    namespace = places.service_namespace(host)
    if options.strimzi and namespace == options.strimzi.namespace:
        brokers = {"strimzi.io/cluster": options.strimzi.cluster, "strimzi.io/kind": "Kafka"}
        return _to([_pods_in(namespace, brokers)], (port,))
    return _to_host(host, port)


def _to_endpoint(url: str) -> Rule:
    parts = urlsplit(url)
    return _to_host(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))


def _to_host(host: str, port: int) -> Rule:
    """A policy knows no names: a service is its namespace, any other name is any address, on that port."""
    if namespace := places.service_namespace(host):
        return _to([_namespace(namespace)], (port,))
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _to(_ANYWHERE, (port,))
    return _to([{"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}}], (port,))


def _namespace(name: str) -> Rule:
    return {"namespaceSelector": {"matchLabels": {places.NAMESPACE_LABEL: name}}}


def _pods_in(namespace: str, labels: dict[str, str]) -> Rule:
    return {**_namespace(namespace), "podSelector": {"matchLabels": dict(labels)}}


def _from(peers: Iterable[Rule], ports: Iterable[int]) -> Rule:
    return {"from": [dict(peer) for peer in peers], "ports": _tcp(ports)}


def _to(peers: Iterable[Rule], ports: Iterable[int]) -> Rule:
    return {"to": [dict(peer) for peer in peers], "ports": _tcp(ports)}


def _tcp(ports: Iterable[int]) -> list[Rule]:
    return [{"protocol": "TCP", "port": port} for port in ports]
