"""Specs of sound apps, made by hypothesis: every part of the spec, in combinations that no example has."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

words = st.from_regex(r"[a-z][a-z0-9]{0,12}", fullmatch=True)
quantities = st.sampled_from(["4Gi", "1500M", 1 << 31])
durations = st.sampled_from(["1s", "1500ms", "90s", "10m"])
SETTINGS = {"A": "", "B_C": "1e5", "TEXT": "two\nlines: {{ x }}"}


@st.composite
def scales(draw: st.DrawFn) -> dict[str, Any]:
    """Replicas, their bounds in order."""
    low = draw(st.integers(0, 3))
    high = draw(st.integers(max(low, 2), 1000))
    target = draw(st.integers(1, 40))
    optional = {
        "idle": st.sampled_from(["1s", "6500ms", "30s", "1h"]),
        "limit": st.integers(max(target, 32), 1000),
        "initial": st.integers(0, high),
        "activation": st.integers(2, high),
        "burst": st.integers(-1, 500),
        "delay": st.sampled_from(["0s", "15m", "1h"]),
    }
    drawn: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=optional))
    return {"min": low, "max": high, "target": target, **drawn}


resources = st.fixed_dictionaries(
    {},
    optional={
        "cpu": st.sampled_from([1, 0.5, "250m"]),
        "memory": quantities,
        "gpu": st.integers(0, 8),
        "gpuResource": st.sampled_from(["nvidia.com/mig-1g.10gb", "nvidia.com/gpu.shared", "amd.com/gpu"]),
        "sharedMemory": st.sampled_from(["64Mi", "1Gi"]),
    },
)
taints = st.fixed_dictionaries(
    {"key": st.sampled_from(["nvidia.com/gpu", "spot"])},
    optional={"value": st.sampled_from(["present", ""]), "effect": st.sampled_from(["NoSchedule", "NoExecute"])},
)
nodes = st.fixed_dictionaries(
    {},
    optional={
        "selector": st.just({"nvidia.com/gpu.product": "NVIDIA-L4"}),
        "tolerations": st.lists(taints, max_size=2),
        "runtimeClass": st.just("nvidia"),
    },
)
sources = st.sampled_from([{"configMap": "shared"}, {"secret": "mine", "prefix": "P_"}])
of_all = {
    "resources": resources,
    "env": st.just({"A": "1"}),
    "secrets": st.sampled_from(
        [{"TOKEN": {"name": "mine", "key": "a.b"}}, {"T": {"name": "m", "key": "k", "optional": True}}]
    ),
    "envFrom": st.lists(sources, max_size=2),
    "image": st.just("own/it:1"),
}
of_pods = {"scale": scales(), "nodes": nodes, "serviceAccount": st.just("reader")}
transformers = st.fixed_dictionaries({"class": st.just("a:T")}, optional={**of_all, **of_pods}) | st.fixed_dictionaries(
    {"class": st.just("a:T"), "collocated": st.just(True)}, optional=of_all
)
kafka = st.fixed_dictionaries(
    {"secret": st.just("kafka"), "authentication": st.sampled_from(["scram-sha-512", "tls"])},
    optional={"user": st.booleans()},
) | st.fixed_dictionaries(
    {"secret": st.just("kafka"), "authentication": st.sampled_from(["plain", "none", "scram-sha-256"])},
    optional={"encryption": st.booleans()},
)
vaults = st.fixed_dictionaries(
    {"name": words, "store": st.just("vault"), "keys": st.just({"k": "team/a#b", "l": "c"})},
    optional={"refresh": st.just("5m"), "storeKind": st.sampled_from(["SecretStore", "ClusterSecretStore"])},
)


PARTS: dict[str, list[Any]] = {
    "access": [
        {},
        {"storageSecrets": ["s"], "deployers": [{"name": "dev"}], "viewers": [{"kind": "User", "name": "a@b"}]},
    ],
    "network": [{}, {"egress": [{"cidr": "10.1.0.0/16", "port": 5432}]}],
    "domain": [{"host": "a.example.com"}, {"host": "b.example.com", "certificate": "issuer", "issuer": "le"}],
    "protection": [
        {},
        {"maxRequest": "1Mi", "rate": 5, "burst": 9, "waf": {"plugin": "oci://r.io/coraza:1", "rules": ["x"]}},
    ],
    "tracing": [{}, {"endpoint": "http://otel.lab:4318"}, {"collector": {"export": "https://t.example.com:4318"}}],
    "metrics": [{}, {"interval": "5s", "labels": {"release": "x"}, "alerts": {"objective": 0.999, "lagFor": "90s"}}],
    "logging": [{}, {"format": "text", "level": "debug"}],
    "rollout": [{}, {"canary": 10, "duration": "0s", "tags": True}],
    "disruption": [{}, {"models": True, "priority": -5}],
    "cost": [{"team": "a", "env": "prod"}],
    "isolation": [{}],
    "usage": [{}, {"topic": "bills", "tenant": {"apiKey": "X-Api-Key"}}],
}
"""Each concern of production, as little and as much as it can be said."""


@st.composite
def production(draw: st.DrawFn) -> dict[str, Any]:
    """Some concerns of production; those that need another come with it."""
    drawn: dict[str, Any] = draw(
        st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in PARTS.items()})
    )
    if "isolation" in drawn:
        drawn |= draw(st.sampled_from([{}, {"quota": {}}, {"quota": {"cpu": 40, "gpu": 2}}]))
    jwt = {"jwt": {"issuer": "https://id.example.com"}} if "domain" in drawn else {}
    return drawn | draw(st.sampled_from([{}, {"mesh": {}}, {"mesh": jwt}]))


FILTERS: list[list[dict[str, Any]]] = [
    [{"exact": {"type": "a.b"}}, {"not": {"prefix": {"source": "/x"}}}],
    [{"any": [{"suffix": {"type": ".b"}}, {"all": [{"cesql": "EXISTS subject"}]}]}],
]


OF_HEADRACE = {
    "batch": st.sampled_from([{}, {"size": 8, "delay": "20ms", "bytes": "256Ki"}]),
    "rateLimit": st.sampled_from([{"rate": 0.5}, {"rate": 100, "burst": 20}]),
}
"""What Knative has no word for."""


@st.composite
def triggers(draw: st.DrawFn, delivery: str) -> dict[str, Any]:
    """How events come."""
    optional = {
        "partitions": st.integers(1, 1000),
        "ordering": st.sampled_from(["none", "key", "partition"]),
        "timeout": durations,
        "coldStart": durations,
        "deadLetters": st.sampled_from(["Lost_Ones", "x.lost"]),
        "retry": st.fixed_dictionaries(
            {},
            optional={
                "attempts": st.integers(1, 100),
                "backoff": st.sampled_from(["linear", "exponential"]),
                "delay": st.sampled_from(["1ms", "250ms", "3s"]),
            },
        ),
        **(OF_HEADRACE if delivery == "headrace" else {}),
        **({} if delivery == "knative-broker" else {"group": st.just("my-group")}),
        **({} if delivery == "knative-source" else {"filter": st.just("a = 'b'"), "filters": st.sampled_from(FILTERS)}),
    }
    drawn: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=optional))
    return {"topic": draw(st.sampled_from(["in", "Events_In", "a.b.c"])), "delivery": delivery, **drawn}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Whole apps."""
    delivery = draw(st.sampled_from(["headrace", "headrace", "knative-source", "knative-broker"]))
    model = draw(
        st.sampled_from(["s3://b/m", "hf://o/m", "pvc://claim/m", "oci://r.io/m:1", "pypi://a==1/b", "m.pt", None])
    )
    predictor = draw(st.fixed_dictionaries({"class": st.just("a.b:C")}, optional={**of_all, **of_pods}))
    if model:
        predictor["model"] = model
    if model in ("s3://b/m", "hf://o/m") and draw(st.booleans()):
        predictor["cache"] = {"size": "3Gi", "nodeGroups": ["workers"]}
    spec: dict[str, Any] = {"predictor": predictor, "trigger": draw(triggers(delivery))}
    if draw(st.booleans()):
        spec["transformer"] = draw(transformers)
    if delivery != "knative-source" and draw(st.booleans()):
        spec["results"] = {"topic": "out"}
    further = {
        "kafka": kafka,
        "config": st.just(SETTINGS),
        "externalSecrets": st.lists(vaults, max_size=2, unique_by=lambda each: str(each["name"])),
    }
    spec |= draw(st.fixed_dictionaries({}, optional=further))
    if draw(st.booleans()):
        spec |= draw(production())
    metadata = {"name": draw(words), "namespace": draw(st.sampled_from(["default", "lab"])), "labels": {"team": "a"}}
    return {"apiVersion": "headrace.dev/v1alpha1", "kind": "InferenceApp", "metadata": metadata, "spec": spec}
