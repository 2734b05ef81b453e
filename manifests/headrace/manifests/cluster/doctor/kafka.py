"""Whether the Kafka that the apps are to use is there, as far as it can be told from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.manifests.cluster.api import Query
from headrace.manifests.cluster.doctor.finding import Finding
from headrace.manifests.cluster.readiness import readiness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.manifests.cluster.api import ClusterApi, Discovery
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.resource import Resource

_GROUP = "kafka.strimzi.io"
_HERE = frozenset({"localhost", "127.0.0.1", "::1", "[::1]", "0.0.0.0"})  # noqa: S104  # refused, not listened on


async def kafka(api: ClusterApi, options: RenderOptions, found: Discovery) -> list[Finding]:
    """The state of a Strimzi cluster; of any other only that its address is none of this machine."""
    own = [each for each in options.kafka.split(",") if each.rpartition(":")[0] in _HERE]
    if own:
        message = f"{own[0]} is each pod itself, not the Kafka of this machine"
        return [Finding("error", "kafka", message, "give --kafka the brokers' address in the cluster")]
    if options.strimzi is None:
        message = f"{options.kafka} is no Strimzi cluster's, and cannot be looked at from here"
        return [Finding("warning", "kafka", message, "are the topics there, and may the pods reach it?")]
    versions = found.groups.get(_GROUP)
    if not versions:
        # Missing kinds are told already.
        return []
    at = options.strimzi
    name = f"Kafka {at.namespace}/{at.cluster}"
    live = (await api.find(Query(f"{_GROUP}/{versions[0]}", "Kafka", at.namespace, at.cluster))).first
    if live is None:
        fix = "create it, or give --kafka the address of another (NAME-kafka-bootstrap.NAMESPACE.svc:PORT)"
        return [Finding("error", "kafka", f"{name} is not there", fix)]
    return list(_judged(name, live, options))


def _judged(name: str, live: Resource, options: RenderOptions) -> Iterator[Finding]:
    state = readiness(live)
    if state.state != "ready":
        about = live["metadata"]
        fix = f"kubectl describe kafka {about['name']} -n {about['namespace']}"
        yield Finding("error", "kafka", f"{name} is not ready: {state.reason}", fix)
        return
    ports = {
        str(address.get("port"))
        for listener in (live.get("status") or {}).get("listeners") or []
        for address in listener.get("addresses") or []
    }
    port = options.kafka.partition(",")[0].rpartition(":")[2]
    if ports and port not in ports:
        message = f"{name} does not listen on {port}, but on {', '.join(sorted(ports))}"
        yield Finding("error", "kafka", message, "give --kafka the address of one of its listeners")
        return
    yield Finding("ok", "kafka", f"{name} is ready")
