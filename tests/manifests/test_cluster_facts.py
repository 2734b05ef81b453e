"""What a real cluster (Kubernetes 1.36, Knative 1.23, KServe) took, refused and did, fact by fact.

Of each mistake that a webhook refuses late or lets through: ``headrace lint`` finds it, and Headrace renders none such.
Of each thing that had to be so for an event to come through: it is rendered so.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from headrace.manifests.lint.engine import lint
from headrace.manifests.options import RenderOptions
from headrace.manifests.rendering import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.resource import Resource
    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]

SCHEMAS = Path(__file__).parents[3] / "shared/schemas"
OPTIONS = RenderOptions(image="registry.lab/headrace:1")
DELIVERIES = ("headrace", "knative-source", "knative-broker")


def of_kind(api_version: str, kind: str, spec: dict[str, Any], **annotations: str) -> Resource:
    """A resource in a namespace."""
    about = {"name": "a", "namespace": "lab", "annotations": annotations}
    return {"apiVersion": api_version, "kind": kind, "metadata": about, "spec": spec}


def model(annotations: dict[str, str] | None = None, **predictor: Any) -> Resource:
    """An InferenceService."""
    part = {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "s3://b/m"}, "maxReplicas": 2, **predictor}
    return of_kind("serving.kserve.io/v1beta1", "InferenceService", {"predictor": part}, **(annotations or {}))


def service(annotations: dict[str, str] | None = None, **pod: Any) -> Resource:
    """A Knative Service."""
    pod = {"containers": [{"image": "registry.lab/a:1"}], **pod}
    template = {"metadata": {"annotations": annotations or {}}, "spec": pod}
    return of_kind("serving.knative.dev/v1", "Service", {"template": template})


SINK = {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "s"}}


def source(**changes: Any) -> Resource:
    """A KafkaSource."""
    spec = {"bootstrapServers": ["k:9092"], "topics": ["t"], "sink": SINK, **changes}
    spec = {key: value for key, value in spec.items() if value is not None}
    return of_kind("sources.knative.dev/v1", "KafkaSource", spec)


def trigger(**changes: Any) -> Resource:
    """A Trigger."""
    return of_kind("eventing.knative.dev/v1", "Trigger", {"broker": "b", "subscriber": SINK, **changes})


CLAIM = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
SCALING = "autoscaling.knative.dev"
WRONG: dict[str, tuple[Resource, str]] = {
    # What the schema of the custom resource catches.
    "isvc minReplica": (model(minReplica=1), "spec.predictor.minReplica"),
    "isvc scaleMetric qps": (model(scaleMetric="qps"), "spec.predictor.scaleMetric"),
    "isvc maxReplicas as text": (model(maxReplicas="3"), "spec.predictor.maxReplicas"),
    "source topic for topics": (source(topics=None, topic="t"), "spec.topic"),
    "sink contentMode": (
        of_kind(
            "eventing.knative.dev/v1alpha1",
            "KafkaSink",
            {"topic": "t", "bootstrapServers": ["k:9092"], "contentMode": "json"},
        ),
        "spec.contentMode",
    ),
    "virtual service wieght": (
        of_kind(
            "networking.istio.io/v1",
            "VirtualService",
            {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "b"}, "wieght": 1}]}]},
        ),
        "spec.http[0].route[0].wieght",
    ),
    # What webhooks refuse, when the manifest is applied.
    "isvc min over max": (model(minReplicas=3), "spec.predictor.minReplicas"),
    "isvc two frameworks": (model(sklearn={"storageUri": "s3://b/m"}), "spec.predictor"),
    "ksvc negative min-scale": (service({f"{SCALING}/min-scale": "-1"}), f"{SCALING}/min-scale"),
    "ksvc class kpx": (service({f"{SCALING}/class": "kpx"}), f"{SCALING}/class"),
    "ksvc timeout over 600 s": (service(timeoutSeconds=7200), "timeoutSeconds"),
    "ksvc two ports": (
        service(containers=[{"image": "a:1", "ports": [{"containerPort": 1}, {"containerPort": 2}]}]),
        "ports",
    ),
    "ksvc claim, flag off": (service(volumes=CLAIM), "volumes[0].persistentVolumeClaim"),
    "ksvc nodeSelector, flag off": (service(nodeSelector={"a": "b"}), "nodeSelector"),
    "ksvc tolerations, flag off": (service(tolerations=[{"key": "a", "operator": "Exists"}]), "tolerations"),
    "source ordering": (source(ordering="random"), "spec.ordering"),
    "trigger brokr": (trigger(broker=None, brokr="b"), "spec.brokr"),
    "trigger attribute": (trigger(filters=[{"exact": {"Bad-Name": "x"}}]), "spec.filters[0].exact"),
    "trigger cesql": (trigger(filters=[{"cesql": "type = "}]), "spec.filters[0].cesql"),
    "broker delay": (
        of_kind("eventing.knative.dev/v1", "Broker", {"delivery": {"retry": 3, "backoffDelay": "5s"}}),
        "spec.delivery.backoffDelay",
    ),
    # What was let through, and does not work.
    "isvc mode Serverles": (model({"serving.kserve.io/deploymentMode": "Serverles"}), "deploymentMode"),
    "isvc ftp": (model(model={"modelFormat": {"name": "onnx"}, "storageUri": "ftp://h/m"}), "storageUri"),
    "ksvc minscale": (service({f"{SCALING}/minscale": "1"}), f"{SCALING}/minscale"),
    "source backoffPolicy": (
        source(delivery={"retry": 3, "backoffPolicy": "expo", "backoffDelay": "PT1S"}),
        "spec.delivery.backoffPolicy",
    ),
    # Server-side apply let this through, a strict create did not.
    "trigger exactly": (trigger(filters=[{"exactly": {"type": "x"}}]), "spec.filters[0].exactly"),
}


@pytest.mark.parametrize(("wrong", "path"), WRONG.values(), ids=WRONG)
def test_lint_finds_what_the_cluster_refused_or_let_through(wrong: Resource, path: str, tmp_path: Path) -> None:
    """Each row of the table, at its place."""
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(wrong))
    found = [each for each in lint([str(file)]).findings if path in each.path]
    assert found, lint([str(file)]).findings


def rendered(app_of: MakeApp, delivery: str, **spec: Any) -> list[Resource]:
    """An app's manifests."""
    return render(app_of(spec={"trigger": {"delivery": delivery}, **spec}), OPTIONS)


def kinds(found: list[Resource], kind: str) -> list[Resource]:
    """Those of one kind."""
    return [each for each in found if each["kind"] == kind]


GPU = {"predictor": {"resources": {"gpu": 1}, "nodes": {"selector": {"a": "b"}, "tolerations": [{"key": "k"}]}}}


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_nothing_of_that_is_rendered(delivery: str, app_of: MakeApp, tmp_path: Path) -> None:
    """Also for nodes with GPUs: the flags that Knative then needs lie beside the app."""
    found = rendered(app_of, delivery, transformer={"class": "a:T"}, **GPU)
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(found))
    wrong = [each for each in lint([str(tmp_path)]).findings if each.severity == "error"]
    assert not wrong
    (settings,) = [each for each in kinds(found, "ConfigMap") if each["metadata"]["name"] == "echo-cluster-settings"]
    flags = yaml.safe_load(settings["data"]["knative-serving.config-features.yaml"])["data"]
    assert flags == {f"kubernetes.podspec-{name}": "enabled" for name in ("nodeselector", "tolerations")}


def test_a_triggers_filters_are_of_known_dialects(app_of: MakeApp) -> None:
    """A strict create refuses any other, though the field may hold anything for the schema."""
    known = {"exact", "prefix", "suffix", "all", "any", "not", "cesql"}
    found = render(
        app_of(
            spec={
                "trigger": {
                    "delivery": "knative-broker",
                    "filter": "type = 'a'",
                    "filters": [{"any": [{"exact": {"type": "a"}}, {"not": {"suffix": {"source": "/b"}}}]}],
                },
                "results": {"topic": "answers"},
            }
        ),
        OPTIONS,
    )

    def dialects(one: dict[str, Any]) -> set[str]:
        inner = [part for key in ("all", "any") for part in one.get(key, [])] + ([one["not"]] if "not" in one else [])
        return set(one).union(*map(dialects, inner))

    used = {name for each in kinds(found, "Trigger") for one in each["spec"]["filters"] for name in dialects(one)}
    assert {"cesql", "not", "prefix", "any"} <= used <= known


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_timeouts_and_ports_are_such_as_knative_takes(delivery: str, app_of: MakeApp) -> None:
    """At most 600 s with a cold start in it, one port a pod, windows in whole seconds, no count below 0."""
    longest = {"delivery": delivery, "timeout": "10m", "coldStart": "1h"}
    found = render(app_of(spec={"trigger": longest, "transformer": {"class": "a:T", "collocated": True}}), OPTIONS)
    (isvc,) = kinds(found, "InferenceService")
    for role in ("predictor", "transformer"):
        if part := isvc["spec"].get(role):
            assert 0 < part["timeout"] <= 600
            assert sum(len(each.get("ports", [])) for each in part["containers"]) == 1
            assert re.fullmatch(r"\d+[smh]", part["annotations"][f"{SCALING}/window"])
            assert 0 <= part["minReplicas"] <= part["maxReplicas"]
    assert isvc["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Knative"


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="the schemas of the custom resources are not here")
def test_a_source_outlives_its_conversion(app_of: MakeApp) -> None:
    """v1 is served and v1beta1 is stored: what is rendered says nothing that the stored version would drop."""
    secured = {"kafka": {"secret": "k", "authentication": "tls"}}
    for spec in ({}, secured):
        (one,) = kinds(rendered(app_of, "knative-source", **spec), "KafkaSource")
        assert one["apiVersion"] == "sources.knative.dev/v1"
        for version in ("v1", "v1beta1"):
            schema = json.loads((SCHEMAS / f"sources.knative.dev_{version}_KafkaSource.json").read_text())
            jsonschema.Draft202012Validator(schema).validate({**one, "apiVersion": f"sources.knative.dev/{version}"})


@pytest.mark.parametrize("delivery", ["knative-source", "knative-broker"])
def test_knative_finds_the_model_and_the_path_that_takes_events(delivery: str, app_of: MakeApp) -> None:
    """An InferenceService's address has no path, and eventing looks it up by a ClusterRole that plain KServe lacks."""
    found = rendered(app_of, delivery)
    (role,) = kinds(found, "ClusterRole")
    assert role["metadata"]["labels"]["duck.knative.dev/addressable"] == "true"
    assert {"get", "list", "watch"} <= set(role["rules"][0]["verbs"])
    targets = [each["spec"]["sink"] for each in kinds(found, "KafkaSource")]
    targets += [each["spec"]["subscriber"] for each in kinds(found, "Trigger")]
    (target,) = [each for each in targets if each["ref"]["kind"] == "InferenceService"]
    assert target["uri"] == "/v1/models/echo:predict"


def test_an_answer_does_not_wake_the_model_again(app_of: MakeApp) -> None:
    """A predictor's reply goes back to the broker: the model's own trigger passes its type over."""
    found = rendered(app_of, "knative-broker", results={"topic": "answers"})
    (own,) = [
        each for each in kinds(found, "Trigger") if each["spec"]["subscriber"]["ref"]["kind"] == "InferenceService"
    ]
    assert {"not": {"prefix": {"type": "dev.headrace.inference."}}} in own["spec"]["filters"]


def test_the_broker_keeps_events_in_kafka(app_of: MakeApp) -> None:
    """One in memory answers a publisher only after delivery, and with 500 when that fails."""
    (broker,) = kinds(rendered(app_of, "knative-broker"), "Broker")
    assert broker["metadata"]["annotations"]["eventing.knative.dev/broker.class"] == "Kafka"
    assert broker["spec"]["delivery"]["deadLetterSink"]["ref"]["kind"] == "KafkaSink"


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_knatives_own_spans_go_where_the_apps_go(delivery: str, app_of: MakeApp) -> None:
    """Serving's activator and queue-proxy always, eventing's data plane where it delivers; sampled alike."""
    found = rendered(app_of, delivery, tracing={"endpoint": "http://otel.lab:4318", "sampling": 1})
    (settings,) = [each for each in kinds(found, "ConfigMap") if each["metadata"]["name"] == "echo-cluster-settings"]
    patches = {name: yaml.safe_load(text)["data"] for name, text in settings["data"].items()}
    said = {
        "tracing-protocol": "http/protobuf",
        "tracing-endpoint": "http://otel.lab:4318/v1/traces",
        "tracing-sampling-rate": "1",
    }
    assert patches["knative-serving.config-observability.yaml"] == said
    eventing = patches.get("knative-eventing.config-observability.yaml")
    assert eventing == (None if delivery == "headrace" else said)


def test_a_cold_start_has_as_long_as_events_wait(app_of: MakeApp) -> None:
    """Knative gives a revision up at its progress deadline; a request that it holds waits for the cold start too."""
    for delivery in DELIVERIES:
        trigger = {"delivery": delivery, "coldStart": "4m", "timeout": "30s"}
        (isvc,) = kinds(render(app_of(spec={"trigger": trigger}), OPTIONS), "InferenceService")
        part = isvc["spec"]["predictor"]
        assert part["annotations"]["serving.knative.dev/progress-deadline"] == "4m"
        assert part["timeout"] == (30 if delivery == "headrace" else 270)


def test_a_bare_equals_sign_is_read(tmp_path: Path) -> None:
    """prometheus-operator's CRDs hold one as a value, at which YAML 1.1 readers stumble."""
    file = tmp_path / "crd.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\ndata: {k: =}\n")
    assert not lint([str(file)]).findings
