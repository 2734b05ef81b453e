"""Every kind that the twin reads, as values: what it becomes, what is said about the rest of it."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from tests.local.conftest import component, deployment, inference_service

from headrace.errors import ConfigurationError
from headrace.eventing.kafka.environment import VARIABLES
from headrace.local.commands import Surroundings, workload_command
from headrace.local.plan import plan
from headrace.local.resources import Delivery, EventIngress, Name, Topic
from headrace.local.words import on_this_machine, port_words, with_ports_of
from headrace.manifests.loading import parse_apps
from headrace.manifests.options import RenderOptions
from headrace.manifests.rendering import render_all

SINK_URL = "http://kafka-sink-ingress.knative-eventing.svc.cluster.local/shop"


def kind(group: str, name: str, spec: dict[str, Any], *, called: str = "x", **metadata: Any) -> dict[str, Any]:
    """A resource in namespace ``shop``."""
    about = {"name": called, "namespace": "shop", **metadata}
    return {"apiVersion": group, "kind": name, "metadata": about, "spec": spec}


def broker(**spec: Any) -> dict[str, Any]:
    """The broker ``orders``."""
    return kind("eventing.knative.dev/v1", "Broker", spec, called="orders")


def sink(called: str = "letters", **spec: Any) -> dict[str, Any]:
    """A KafkaSink to ``shop.letters``."""
    return kind("eventing.knative.dev/v1alpha1", "KafkaSink", {"topic": "shop.letters", **spec}, called=called)


def trigger(**spec: Any) -> dict[str, Any]:
    """A trigger of ``orders`` to an address."""
    return kind(
        "eventing.knative.dev/v1",
        "Trigger",
        {"broker": "orders", "subscriber": {"uri": "http://here.example/"}, **spec},
        called="new",
    )


def source(**spec: Any) -> dict[str, Any]:
    """A source of ``shop.orders`` to an address."""
    return kind(
        "sources.knative.dev/v1",
        "KafkaSource",
        {"topics": ["shop.orders"], "sink": {"uri": "http://here.example/"}, **spec},
        called="orders",
    )


LETTERS = {"ref": {"apiVersion": "eventing.knative.dev/v1alpha1", "kind": "KafkaSink", "name": "letters"}}


def test_a_broker_is_a_topic_and_a_place_to_post_to() -> None:
    """Knative's name for the topic, or the one that is brought; partitions of its configuration."""
    done = plan([broker()])
    assert done.ingresses == (EventIngress("broker", Name("shop", "orders"), "knative-broker-shop-orders"),)
    assert done.topics == (Topic("knative-broker-shop-orders", 10),)
    own = broker(config={"apiVersion": "v1", "kind": "ConfigMap", "name": "c"})
    own["metadata"]["annotations"] = {"kafka.eventing.knative.dev/external.topic": "mine"}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop"}}
    config["data"] = {"default.topic.partitions": "3"}
    assert plan([own, config]).topics == (Topic("mine", 3),)


def test_a_declared_topic_goes_before_a_wanted_one() -> None:
    """With its own partitions and settings, once."""
    declared = kind("kafka.strimzi.io/v1", "KafkaTopic", {"topicName": "shop.letters", "partitions": 4})
    assert plan([sink(), declared]).topics == (Topic("shop.letters", 4),)


def test_a_trigger_delivers_and_replies_go_back() -> None:
    """With the cluster's usual delivery, unordered; the older filter, whose empty values mean anything."""
    done = plan([broker(), trigger(filter={"attributes": {"type": "a", "source": ""}})])
    assert done.deliveries == (
        Delivery(
            name=Name("shop", "new"),
            kind="trigger",
            topic="knative-broker-shop-orders",
            group="knative-trigger-shop-new",
            url="http://here.example/",
            dead_letters="knative-dead-letters-shop-new",
            replies="knative-broker-shop-orders",
            filters=({"exact": {"type": "a"}},),
            attempts=11,
        ),
    )


def test_a_triggers_delivery_replaces_its_brokers() -> None:
    """It is not merged; ordered by an annotation; what was given up goes on from a topic of its own."""
    of_broker = broker(delivery={"retry": 3, "backoffPolicy": "linear", "backoffDelay": "PT1M0.5S", "timeout": "PT5S"})
    first = plan([of_broker, trigger()]).deliveries[0]
    assert (first.attempts, first.backoff, first.delay, first.timeout) == (4, "linear", 60.5, 5.0)
    ordered = trigger(delivery={"deadLetterSink": LETTERS})
    ordered["metadata"]["annotations"] = {"kafka.eventing.knative.dev/delivery.order": "ordered"}
    first, letters = plan([of_broker, ordered, sink()]).deliveries
    assert (first.attempts, first.backoff, first.ordered) == (1, "exponential", True)
    assert (letters.topic, letters.url) == (first.dead_letters, f"{SINK_URL}/letters")


def test_a_kafka_source_delivers_each_of_its_topics() -> None:
    """Ordered, eleven attempts from 0.3 s on; replies are dropped; what does nothing here is named."""
    done = plan([source(topics=["a", "b"], net={}, ceOverrides={"extensions": {"x": "1"}})])
    assert [(each.topic, each.group, each.replies) for each in done.deliveries] == [
        ("a", "knative-kafka-source-shop-orders-a", ""),
        ("b", "knative-kafka-source-shop-orders-b", ""),
    ]
    first = done.deliveries[0]
    assert (first.ordered, first.attempts, first.delay, dict(first.extensions)) == (True, 11, 0.3, {"x": "1"})
    assert "KafkaSource shop/orders: spec.net: the broker of the twin, or of --kafka, is read" in done.ignored
    assert any("initialOffset: a new group begins at the beginning here" in note for note in done.ignored)


@pytest.mark.parametrize(
    ("resources", "fault"),
    [
        ([trigger()], "Trigger shop/new: spec.broker names 'orders', no Broker of these manifests"),
        ([broker(), trigger(subscriber={})], "spec.subscriber has neither ref nor uri"),
        (
            [broker(), trigger(subscriber=LETTERS)],
            "spec.subscriber.ref names KafkaSink shop/letters, which is not among these manifests",
        ),
        (
            [broker(), trigger(subscriber={"ref": {"kind": "Channel", "name": "c"}})],
            "ref.kind is 'Channel'; events go to an InferenceService, Service, Broker or KafkaSink here",
        ),
        ([broker(), trigger(filters=[{"exakt": {"type": "a"}}])], "Trigger shop/new: spec.filters is wrong"),
        ([source(delivery={"backoffDelay": "1s"})], "backoffDelay is '1s', not a duration such as 'PT0.5S'"),
        ([source(delivery={"backoffPolicy": "random"})], "backoffPolicy is 'random', not linear or exponential"),
        ([source(topics=[])], "KafkaSource shop/orders: spec.topics is missing"),
    ],
)
def test_a_mistake_in_eventing_is_named(resources: list[dict[str, Any]], fault: str) -> None:
    """With the resource and the path."""
    with pytest.raises(ConfigurationError) as caught:
        plan(resources)
    assert fault in str(caught.value)


def container(**more: Any) -> dict[str, Any]:
    """A container that runs Python."""
    return {"name": "main", "command": ["python", "app.py"], **more}


def binding(**subject: Any) -> dict[str, Any]:
    """A SinkBinding to the sink ``letters``."""
    spec = {"subject": subject, "sink": LETTERS, "ceOverrides": {"extensions": {"a": "b"}}}
    return kind("sources.knative.dev/v1", "SinkBinding", spec)


def pods(**labels: str) -> dict[str, Any]:
    """A Deployment with these labels."""
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container(ports=[{"containerPort": 9000}])]}}
    return kind("apps/v1", "Deployment", {"replicas": 3, "strategy": {}, "template": template}, called="sender")


@pytest.mark.parametrize(
    "subject",
    [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "sender"},
        {"apiVersion": "apps/v1", "kind": "Deployment", "selector": {"matchLabels": {"app": "sender"}}},
    ],
)
def test_a_sink_binding_gives_its_subject_the_sink(subject: dict[str, Any]) -> None:
    """By name or by labels: K_SINK, and K_CE_OVERRIDES where there are any."""
    done = plan([pods(app="sender"), binding(**subject), sink()])
    assert done.workloads[0].container.environment == {
        "K_SINK": f"{SINK_URL}/letters",
        "K_CE_OVERRIDES": '{"extensions": {"a": "b"}}',
    }
    assert "Deployment shop/sender: spec.replicas: one process runs here" in done.ignored
    assert "Deployment shop/sender: spec.strategy: the process is replaced at once" in done.ignored


def test_a_sink_binding_of_a_knative_service() -> None:
    """Its revision's container gets the variables; a subject that is not there is named."""
    spec = {"template": {"spec": {"containers": [container()]}}}
    service = kind("serving.knative.dev/v1", "Service", spec, called="sender")
    subject = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "sender"}
    done = plan([service, binding(**subject), sink()])
    assert done.services[0].container.environment["K_SINK"] == f"{SINK_URL}/letters"
    with pytest.raises(ConfigurationError, match=r"SinkBinding shop/x: spec\.subject names Service"):
        plan([binding(**subject), sink()])


def test_a_container_source_is_a_process_with_a_sink() -> None:
    """Always up, as a Deployment's."""
    spec = {"template": {"spec": {"containers": [container()]}}, "sink": {"uri": "http://here.example"}}
    (workload,) = plan([kind("sources.knative.dev/v1", "ContainerSource", spec, called="ticks")]).workloads
    assert (workload.name, workload.container.environment) == (Name("shop", "ticks"), {"K_SINK": "http://here.example"})


def test_a_kubernetes_service_leads_to_the_deployment_that_it_selects() -> None:
    """To its target port; one that selects nothing is named."""
    service = kind(
        "v1", "Service", {"selector": {"app": "sender"}, "ports": [{"port": 80, "targetPort": 9000}]}, called="front"
    )
    done = plan([service, pods(app="sender")])
    assert done.workloads[0].addresses == ((Name("shop", "front"), 9000),)
    lost = deepcopy(service)
    lost["spec"]["selector"] = {"app": "other"}
    assert "Service shop/front: it selects no Deployment of these manifests" in plan([lost, pods(app="sender")]).skipped
    to_it = {"ref": {"apiVersion": "v1", "kind": "Service", "name": "front"}}
    delivery = plan([service, pods(app="sender"), broker(), trigger(subscriber=to_it)]).deliveries[0]
    assert delivery.url == "http://front.shop.svc.cluster.local"


def test_a_collocated_transformer_takes_the_requests() -> None:
    """Of two containers the one with a port, as Knative has it; the other stands beside it."""
    part = component()
    part["containers"][0]["ports"] = []
    transformer = {**container(ports=[{"containerPort": 8080}]), "name": "transformer-container"}
    part["containers"].append(transformer)
    (service,) = plan([inference_service(predictor=part)]).services
    assert service.container.name == "transformer-container"
    assert [each.name for each in service.beside] == ["kserve-container"]


def test_a_model_without_a_container_is_told_what_it_needs() -> None:
    """A serving runtime is an image; none runs here."""
    resource = inference_service(predictor={"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "gs://x"}})
    with pytest.raises(
        ConfigurationError, match=r"predictor\.model needs a serving runtime's image, and none runs here"
    ):
        plan([resource])


def test_fields_that_do_nothing_here_are_named_with_what_is_done() -> None:
    """Of pods and containers alike."""
    part = component(tolerations=[], initContainers=[])
    part["containers"][0]["lifecycle"] = {}
    ignored = plan([inference_service(predictor=part)]).ignored
    path = "InferenceService vision/labels: spec.predictor"
    assert f"{path}.tolerations: this machine is the only node" in ignored
    assert f"{path}.initContainers: they are not run; what they fetch must be here already" in ignored
    assert f"{path}.containers[0].lifecycle: hooks are not run; SIGTERM comes as in a cluster" in ignored


def test_the_embedded_kafka_is_not_logged_in_to() -> None:
    """A cluster's protocol and login stay out of the containers, whichever Secret they come from."""
    resource = deployment(Path("/j"), {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"})
    del resource["spec"]["template"]["spec"]["volumes"]
    resource["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = []
    (workload,) = plan([resource]).workloads
    around = Surroundings({}, "127.0.0.1:1", Path("/m"), {}, VARIABLES)
    environment = workload_command(workload.container, workload.name, {}, around).environment
    assert "KAFKA_SECURITY_PROTOCOL" not in environment
    assert environment["KAFKA_BOOTSTRAP_SERVERS"] == "127.0.0.1:1"


@pytest.mark.parametrize(
    ("words", "here"),
    [
        (["--bind", "0.0.0.0:8080"], ["--bind", "127.0.0.1:7000"]),
        (["--bind=:8080"], ["--bind=127.0.0.1:7000"]),
        (["--host", "0.0.0.0", "--port", "8080"], ["--host", "127.0.0.1", "--port", "7000"]),
        (["-m", "http.server", "8080"], ["-m", "http.server", "7000"]),
        (["--predictor=localhost:8085"], ["--predictor=127.0.0.1:7001"]),
        (["http://localhost:8080/x", "10.0.0.1:8080", "localhost:80801"], None),
        (["8080", "8080"], ["8080", "8080"]),
    ],
)
def test_ports_and_addresses_of_commands(words: list[str], here: list[str] | None) -> None:
    """Loopback and the replica's own ports, in the ways in which programs are told them."""
    ports = {8080: 7000, 8085: 7001}
    found = port_words([with_ports_of(word, ports) for word in words], ports, 8080)
    assert found == (here or ["http://127.0.0.1:7000/x", "10.0.0.1:8080", "localhost:80801"])


def test_programs_beside_the_interpreter_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an image, where they are on the path."""
    (tmp_path / "gunicorn").touch()
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert on_this_machine(["gunicorn", "app"]) == (str(tmp_path / "gunicorn"), "app")
    assert on_this_machine(["python3.11", "x"]) == (str(tmp_path / "python"), "x")
    assert on_this_machine(["nginx"]) == ("nginx",)


@pytest.mark.parametrize(
    ("delivery", "kinds"), [("knative-source", ["source"] * 2), ("knative-broker", ["trigger"] * 4)]
)
def test_apps_that_knative_delivers_to_are_read(delivery: str, kinds: list[str]) -> None:
    """What `headrace render` makes of them: a delivery each, and one for what each gives up; no dispatcher."""
    app = f"""
apiVersion: headrace.dev/v1alpha1
kind: InferenceApp
metadata: {{name: labels, namespace: vision}}
spec:
  predictor: {{class: "a:B"}}
  trigger: {{topic: pictures, delivery: {delivery}}}
  results: {{topic: labels}}
"""
    if delivery == "knative-source":  # it has no way for answers
        app = app.replace("  results: {topic: labels}\n", "")
    done = plan(render_all(parse_apps(app, "headrace.yaml"), RenderOptions()))
    assert [each.kind for each in done.deliveries] == kinds
    assert done.workloads == ()
    first = done.deliveries[0]
    assert (first.topic, first.url) == (
        "pictures",
        "http://labels.vision.svc.cluster.local/v1/models/labels:predict",
    )
