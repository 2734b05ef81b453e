"""What each renderer makes of an app."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from headrace.manifests.concerns.every import PRODUCTION
from headrace.manifests.inferenceservice import idle_annotations
from headrace.manifests.loading import load_apps, parse_apps
from headrace.manifests.options import RenderOptions, Strimzi, strimzi_of
from headrace.manifests.quantity import parse_duration
from headrace.manifests.rendering import CONCERNS, render, render_all
from headrace.manifests.topics import resource_name
from headrace.manifests.yaml_text import to_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]


def one(resources: Sequence[dict[str, Any]], kind: str, name: str | None = None) -> dict[str, Any]:
    """The one resource of that kind (and name)."""
    (found,) = [each for each in resources if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    return found


def env_of(container: dict[str, Any]) -> dict[str, str]:
    """The container's variables with plain values."""
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


def test_resources_come_in_the_order_in_which_a_cluster_wants_them(app_of: MakeApp) -> None:
    """Topics before those who use them, the ConfigMap before its pod, the Deployment before who scales it."""
    kinds = [each["kind"] for each in render(app_of(spec={"results": {"topic": "answers"}}))]
    assert kinds == ["KafkaTopic"] * 3 + ["InferenceService", "ConfigMap", "Deployment", "ScaledObject"]
    assert [each for each in CONCERNS if each not in PRODUCTION] == [
        "topics",
        "kafka-user",
        "configuration",
        "model-cache",
        "inference-service",
        "dispatcher",
        "knative-delivery",
        "keda-authentication",
        "autoscale",
    ]


def test_every_resource_has_its_namespace_and_labels(app_of: MakeApp) -> None:
    """One selector finds all of an app, another all of Headrace; the user's own labels stand beside them."""
    for each in render(app_of(metadata={"namespace": "lab", "labels": {"team": "blue"}})):
        about = each["metadata"]
        assert about["namespace"] == ("kafka" if each["kind"] == "KafkaTopic" else "lab")
        assert about["labels"]["app.kubernetes.io/name"] == "echo"
        assert about["labels"]["app.kubernetes.io/managed-by"] == "headrace"
        assert about["labels"]["app.kubernetes.io/part-of"] == "headrace"
        assert about["labels"]["app.kubernetes.io/component"]
        assert about["labels"]["team"] == "blue"


def test_rendering_has_no_state(app_of: MakeApp) -> None:
    """Rendered twice, the text is the same to the byte, and what a caller does to a resource stays with it."""
    app = app_of(metadata={"labels": {"a": "b"}}, spec={"predictor": {"env": {"A": "1"}}})
    first = render(app)
    text = to_yaml(first)
    for each in first:
        each["metadata"]["labels"].clear()
    assert to_yaml(render(app)) == text


def test_the_predictor_serves_its_class(app_of: MakeApp) -> None:
    """KServe runs `headrace serve` with class, model and batching on port 8080, ready when v2 says so."""
    app = app_of(spec={"predictor": {"model": "file:///models/m", "batching": {"maxSize": 4, "maxDelay": "20ms"}}})
    service = one(render(app, RenderOptions(image="img:1")), "InferenceService")
    (container,) = service["spec"]["predictor"]["containers"]
    assert service["metadata"]["name"] == "echo"
    assert service["metadata"]["annotations"] == {"serving.kserve.io/deploymentMode": "Knative"}
    assert (container["name"], container["image"]) == ("kserve-container", "img:1")
    assert container["command"] == ["headrace", "serve"]
    assert container["args"] == [
        "--class=models.echo:Echo", "--name=echo", "--http-port=8080", "--model=file:///models/m",
        "--max-batch-size=4", "--max-batch-delay=20ms",
    ]  # fmt: skip
    assert [(port["name"], port["containerPort"]) for port in container["ports"]] == [("http1", 8080)]
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": 8080}
    assert "transformer" not in service["spec"]


def test_bounds_of_a_batch_and_a_process_of_its_own(app_of: MakeApp) -> None:
    """What the spec says beyond the usual reaches `headrace serve` as its flags; the transformer's process too."""
    spec = {
        "predictor": {"batching": {"maxBytes": "64Mi", "maxTokens": 4096}, "execution": "process"},
        "transformer": {"class": "a.b:T", "execution": "process"},
    }
    service = one(render(app_of(spec=spec)), "InferenceService")["spec"]
    predictor, transformer = (service[role]["containers"][0]["args"] for role in ("predictor", "transformer"))
    assert predictor[-3:] == ["--max-batch-bytes=67108864", "--max-batch-tokens=4096", "--execution=process"]
    assert transformer[-1] == "--execution=process"


def test_the_containers_know_who_they_are(app_of: MakeApp) -> None:
    """App, namespace, model version and CPUs come as variables, the user's beside and before them."""
    spec = {
        "predictor": {"version": "7", "env": {"A": "1"}, "resources": {"cpu": "1500m"}},
        "transformer": {"class": "a.b:T", "env": {"OTEL_SERVICE_NAME": "mine"}, "image": "own:2"},
    }
    service = one(render(app_of(spec=spec)), "InferenceService")["spec"]
    predictor, transformer = (service[role]["containers"][0] for role in ("predictor", "transformer"))
    known = {"HEADRACE_APP": "echo", "HEADRACE_NAMESPACE": "default", "HEADRACE_MODEL_VERSION": "7"}
    own = {"HEADRACE_CPU_LIMIT": "1500m", "OTEL_SERVICE_NAME": "echo-predictor", "A": "1"}
    assert env_of(predictor) == {**known, **own}
    assert env_of(transformer) == {**known, "HEADRACE_CPU_LIMIT": "1", "OTEL_SERVICE_NAME": "mine"}
    assert transformer["image"] == "own:2"
    assert transformer["args"] == ["--class=a.b:T", "--name=echo", "--http-port=8080"]


@pytest.mark.parametrize(
    ("model", "fetched"),
    [("s3://b/m", True), ("hf://o/m", True), ("pvc://claim/m", True), ("pypi://a==1/b", False), ("m.pt", False)],
)
def test_kserve_fetches_what_it_can_fetch(
    app_of: MakeApp, model: str, fetched: bool
) -> None:  # a parameter of the table
    """STORAGE_URI makes KServe's initializer fetch with the cluster's credentials; other models are in the image."""
    service = one(render(app_of(spec={"predictor": {"model": model}})), "InferenceService")
    container = service["spec"]["predictor"]["containers"][0]
    assert f"--model={model}" in container["args"]
    assert env_of(container).get("STORAGE_URI") == (model if fetched else None)


def test_a_component_scales_on_requests_in_flight(app_of: MakeApp) -> None:
    """MaxReplicas is always there (KServe makes 0 of none), and no hard limit queues in front of the server."""
    app = app_of(spec={"predictor": {"scale": {"min": 1, "max": 5, "target": 3}}, "trigger": {"timeout": "1500ms"}})
    predictor = one(render(app), "InferenceService")["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (1, 5)
    assert (predictor["scaleMetric"], predictor["scaleTarget"]) == ("concurrency", 3)
    assert (predictor["containerConcurrency"], predictor["timeout"]) == (0, 2)
    assert predictor["annotations"]["serving.knative.dev/progress-deadline"] == "10m"


@pytest.mark.parametrize(
    ("idle", "window", "retention"),
    [("1s", "6s", "0s"), ("30s", "30s", "0s"), ("1m", "1m", "0s"), ("5m", "1m", "4m"), ("6500ms", "7s", "0s")],
)
def test_idle_is_window_and_retention_together(idle: str, window: str, retention: str) -> None:
    """Knative waits for a window without requests, then the retention: their sum is `idle`, in whole seconds."""
    found = idle_annotations(parse_duration(idle))
    assert found["autoscaling.knative.dev/window"] == window
    assert found["autoscaling.knative.dev/scale-to-zero-pod-retention-period"] == retention
    assert parse_duration(found["headrace.dev/idle"]) == parse_duration(idle)


def test_resources_are_requested_and_limited_alike(app_of: MakeApp) -> None:
    """A limit left out would get KServe's default, which may lie below the request; GPUs are limits."""
    app = app_of(spec={"predictor": {"resources": {"cpu": 2.5, "memory": "4Gi", "gpu": 1}}})
    container = one(render(app), "InferenceService")["spec"]["predictor"]["containers"][0]
    assert container["resources"] == {
        "requests": {"cpu": "2500m", "memory": "4Gi"},
        "limits": {"cpu": "2500m", "memory": "4Gi", "nvidia.com/gpu": "1"},
    }


def test_the_dispatcher_reads_the_same_app(app_of: MakeApp) -> None:
    """The ConfigMap's file is the app, and it lies where the command looks for it."""
    app = app_of(spec={"results": {"topic": "answers"}, "predictor": {"env": {"A": "1e5"}}})
    resources = render(app)
    config, deployment = one(resources, "ConfigMap"), one(resources, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert parse_apps(config["data"]["headrace.yaml"], "f") == [app]
    assert container["command"] == ["headrace", "dispatch"]
    assert container["args"] == ["-f", "/etc/headrace/headrace.yaml", "--app", "echo"]
    volume = next(each for each in pod["volumes"] if "configMap" in each)
    mount = next(each for each in container["volumeMounts"] if each["name"] == volume["name"])
    assert (volume["configMap"]["name"], mount["mountPath"]) == (config["metadata"]["name"], "/etc/headrace")


def test_the_dispatcher_knows_sink_and_broker_and_whom_to_wake(app_of: MakeApp) -> None:
    """It posts to the app's address, and wakes predictor and transformer at once."""
    app = app_of(metadata={"namespace": "lab"}, spec={"transformer": {"class": "a:B"}})
    container = one(render(app, RenderOptions(kafka="k:1,l:2")), "Deployment")["spec"]["template"]["spec"][
        "containers"
    ][0]
    assert env_of(container) == {
        "K_SINK": "http://echo.lab.svc.cluster.local",
        "HEADRACE_WAKE": "http://echo-predictor.lab.svc.cluster.local,http://echo-transformer.lab.svc.cluster.local",
        "KAFKA_BOOTSTRAP_SERVERS": "k:1,l:2",
        "OTEL_SERVICE_NAME": "echo-dispatcher",
    }
    assert container["env"][-1] == {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    alone = one(render(app_of()), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert env_of(alone)["HEADRACE_WAKE"] == "http://echo-predictor.default.svc.cluster.local"


def test_a_changed_app_makes_new_dispatcher_pods(app_of: MakeApp) -> None:
    """The pod template carries the file's checksum; the selector, which may never change, carries none of it."""
    first, second = (
        one(render(app_of(metadata={"labels": {"v": v}}, spec={"trigger": {"timeout": t}})), "Deployment")["spec"]
        for v, t in (("1", "1s"), ("2", "2s"))
    )
    assert first["template"]["metadata"]["annotations"] != second["template"]["metadata"]["annotations"]
    assert first["selector"] == second["selector"]
    assert first["selector"]["matchLabels"].items() <= first["template"]["metadata"]["labels"].items()


def test_the_dispatcher_may_finish_what_it_began(app_of: MakeApp) -> None:
    """The grace covers the longest request in flight and the commit; it runs without rights."""
    pod = one(render(app_of(spec={"trigger": {"timeout": "5m"}})), "Deployment")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 330
    assert pod["securityContext"]["runAsNonRoot"] is True
    security = pod["containers"][0]["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False


def test_dispatchers_follow_the_lag(app_of: MakeApp) -> None:
    """From the first waiting event to one dispatcher a partition; the Deployment names no number to fight over."""
    app = app_of(spec={"trigger": {"partitions": 5, "group": "g"}, "predictor": {"scale": {"idle": "90s"}}})
    resources = render(app, RenderOptions(kafka="k:1"))
    scaled = one(resources, "ScaledObject")["spec"]
    assert scaled["scaleTargetRef"]["name"] == one(resources, "Deployment")["metadata"]["name"] == "echo-dispatcher"
    assert "replicas" not in one(resources, "Deployment")["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"], scaled["cooldownPeriod"]) == (0, 5, 90)
    (trigger,) = scaled["triggers"]
    assert trigger["type"] == "kafka"
    assert trigger["metadata"] == {
        "bootstrapServers": "k:1", "consumerGroup": "g", "topic": "words", "lagThreshold": "100",
        "activationLagThreshold": "0", "offsetResetPolicy": "earliest",
    }  # fmt: skip


def test_an_app_kept_warm_keeps_its_dispatcher(app_of: MakeApp) -> None:
    """Who pays for a warm replica shall not wait for a dispatcher to start."""
    scaled = one(render(app_of(spec={"predictor": {"scale": {"min": 2, "max": 3}}})), "ScaledObject")["spec"]
    assert scaled["minReplicaCount"] == 1


def test_topics_are_made_for_events_results_and_dead_letters(app_of: MakeApp) -> None:
    """Results are spread as events are; a dead letter has room for its event and the reason, and is kept longer."""
    app = app_of(spec={"trigger": {"partitions": 3}, "results": {"topic": "answers"}})
    topics = {each["spec"]["topicName"]: each for each in render(app) if each["kind"] == "KafkaTopic"}
    assert {name: each["spec"]["partitions"] for name, each in topics.items()} == {
        "words": 3, "answers": 3, "words.dead-letters": 1,
    }  # fmt: skip
    assert topics["words"]["spec"]["config"] == {"max.message.bytes": 16 << 20}
    dead = topics["words.dead-letters"]["spec"]["config"]
    assert dead["max.message.bytes"] > 16 << 20
    assert dead["retention.ms"] == 14 * 86_400_000
    assert all(each["metadata"]["labels"]["strimzi.io/cluster"] == "kafka" for each in topics.values())


def test_topics_go_where_their_operator_looks(app_of: MakeApp) -> None:
    """Strimzi's operator watches its own namespace; another Kafka has nobody who would read the resources."""
    mine = render(app_of(), RenderOptions(strimzi=Strimzi("main", "data")))
    assert {(each["metadata"]["namespace"], each["metadata"]["labels"]["strimzi.io/cluster"]) for each in mine[:2]} == {
        ("data", "main")
    }
    assert not [each for each in render(app_of(), RenderOptions(strimzi=None)) if each["kind"] == "KafkaTopic"]


@pytest.mark.parametrize(
    ("kafka", "found"),
    [
        ("kafka-kafka-bootstrap.kafka.svc:9092", Strimzi("kafka", "kafka")),
        ("my-one-kafka-bootstrap.data.svc.cluster.local:9093", Strimzi("my-one", "data")),
        ("broker.example.com:9092", None),
        ("localhost:9092", None),
    ],
)
def test_strimzi_is_known_by_its_address(kafka: str, found: Strimzi | None) -> None:
    """CLUSTER-kafka-bootstrap.NAMESPACE.svc is Strimzi's form of address."""
    assert strimzi_of(kafka) == found


@pytest.mark.parametrize("topic", ["words", "a.b-c", "Words", "a_b", "a..b", "_", "-a", "x" * 249, "X" * 249])
def test_a_topic_has_a_legal_resource_name(topic: str) -> None:
    """Kafka takes capitals and underscores, Kubernetes does not; a legal name stays as it is."""
    name = resource_name(topic)
    assert len(name) <= 253
    assert all(
        part and part == part.lower() and part.strip("-") == part and "_" not in part for part in name.split(".")
    )
    assert resource_name(name) == name


def test_names_made_from_different_topics_differ() -> None:
    """``a_b`` and ``A_b`` are two topics and must be two resources."""
    assert len({resource_name(topic) for topic in ("a_b", "A_b", "a-b", "a.b", "A.B")}) == 5


def test_a_shared_topic_is_rendered_once_as_its_reader_has_it(app_of: MakeApp) -> None:
    """One app's results are another's events: the reader says how many partitions there are."""
    writer = app_of(metadata={"name": "first"}, spec={"results": {"topic": "middle"}})
    reader = app_of(metadata={"name": "second"}, spec={"trigger": {"topic": "middle", "partitions": 20}})
    for apps in ([writer, reader], [reader, writer]):
        middle = [each for each in render_all(apps) if each["metadata"]["name"] == "middle"]
        assert [each["spec"]["partitions"] for each in middle] == [20]
    assert len(render_all([writer, reader])) == len(render(writer)) + len(render(reader)) - 1


def test_text_is_the_same_in_every_process(pictures: Path) -> None:
    """No set, no clock, no hash seed decides anything: a diff of manifests shows what was changed."""
    code = (
        "import sys; from headrace.manifests.loading import load_apps; from headrace.manifests.rendering import *;"
        "from headrace.manifests.yaml_text import to_yaml; print(to_yaml(render_all(load_apps(sys.argv[1]))), end='')"
    )
    command = [sys.executable, "-c", code, str(pictures)]
    outputs = {
        hashlib.sha256(subprocess.check_output(command, env={**os.environ, "PYTHONHASHSEED": seed})).digest()
        for seed in "12"
    }
    here = to_yaml(render_all(load_apps(pictures)))
    assert outputs == {hashlib.sha256(here.encode()).digest()}
    assert list(yaml.safe_load_all(here)) == render_all(load_apps(pictures))
