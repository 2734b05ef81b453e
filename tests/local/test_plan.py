"""Manifests -> plan -> commands, without a process."""

from __future__ import annotations

import base64
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from tests.local.conftest import CONFIG_MAP, component, deployment, inference_service

from headrace.errors import ConfigurationError
from headrace.local.commands import Surroundings, service_command, unknown_hosts, workload_command
from headrace.local.plan import plan, topics_of
from headrace.local.resources import Name

ADDRESSES = {
    Name("vision", "labels"): "127.0.0.1:5001",
    Name("vision", "labels-transformer"): "127.0.0.1:5001",
    Name("vision", "labels-predictor"): "127.0.0.1:5002",
}
SERVE = (sys.executable, "-m", "headrace.cli.main", "serve")
AROUND = Surroundings(ADDRESSES, "127.0.0.1:9092", Path("/run/mounts"), {"HOME": "/home/me"})


def changed(resource: dict[str, Any], value: Any, *path: str | int) -> dict[str, Any]:
    """A copy with `value` at `path`; the value ... takes it away."""
    copy = deepcopy(resource)
    place: Any = copy
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copy


SERVICE = inference_service()
DISPATCHER = deployment(Path("/journal"))


@pytest.mark.parametrize(
    ("resource", "fault"),
    [
        (changed(SERVICE, ..., "metadata", "name"), "InferenceService vision/?: metadata.name is missing"),
        (changed(SERVICE, ..., "spec"), "InferenceService vision/labels: spec is missing"),
        (changed(SERVICE, ..., "spec", "predictor"), "InferenceService vision/labels: spec.predictor is missing"),
        (changed(SERVICE, [], "spec", "predictor", "containers"), "spec.predictor.containers is empty"),
        (changed(SERVICE, ..., "spec", "predictor", "containers"), "spec.predictor.containers is missing"),
        (
            changed(SERVICE, ["x"], "spec", "predictor", "containers"),
            "containers[0] is 'x', not a mapping",
        ),
        (
            changed(SERVICE, ..., "spec", "predictor", "containers", 0, "command"),
            "spec.predictor.containers[0].command is missing",
        ),
        (changed(SERVICE, "3", "spec", "predictor", "containers", 0, "args"), "args is '3', not a list"),
        (
            changed(SERVICE, [8080], "spec", "predictor", "containers", 0, "args"),
            "[0] is 8080, not a text (quote it)",
        ),
        (
            changed(SERVICE, -1, "spec", "predictor", "minReplicas"),
            "is -1, not a whole number of 0 or more",
        ),
        (changed(SERVICE, 3, "spec", "predictor", "minReplicas"), "a least scale of 3 above the most, 1"),
        (changed(SERVICE, "0", "spec", "predictor", "timeout"), "timeout is '0', not a number above 0"),
        (
            changed(SERVICE, "5 minutes", "spec", "predictor", "annotations", "headrace.dev/idle"),
            "is '5 minutes', not a duration such as '90s' or '1m30s'",
        ),
        (changed(DISPATCHER, ..., "spec", "template"), "Deployment vision/labels-dispatcher: spec.template is missing"),
        (
            changed(DISPATCHER, [], "spec", "template", "spec", "volumes"),
            "volume 'app', which the pod does not have",
        ),
        (DISPATCHER, "names 'labels-app', no ConfigMap of these manifests"),
        (changed(CONFIG_MAP, {"../x": "y"}, "data"), "ConfigMap vision/labels-app: data.../x is no file name"),
        (changed(CONFIG_MAP, {"x": "%"}, "binaryData"), "binaryData.x is not base64"),
        ({"metadata": {"name": "x"}}, "Resource 0 has no kind"),
        ("text", "Resource 0 is 'text', not a mapping"),
    ],
)
def test_a_mistake_is_named_with_resource_and_path(resource: Any, fault: str) -> None:
    """In a person's words, as a configuration error."""
    with pytest.raises(ConfigurationError) as caught:
        plan([resource])
    assert fault in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    """Of all resources."""
    broken = changed(SERVICE, ..., "spec", "predictor", "containers", 0, "command")
    headless = changed(DISPATCHER, ..., "metadata", "name")
    with pytest.raises(ConfigurationError, match="3 mistakes") as caught:
        plan([broken, changed(CONFIG_MAP, {"x": "%"}, "binaryData"), headless])
    assert len(caught.value.problems) == 3


def test_two_services_of_one_name_are_refused() -> None:
    """An app called as another's component would take its requests."""
    with pytest.raises(ConfigurationError, match="Two services are called vision/labels-predictor"):
        plan([SERVICE, inference_service("labels-predictor")])


def test_what_does_not_run_here_is_named_with_the_reason() -> None:
    """Known and unknown kinds alike; also a known kind of another API group."""
    resources = [
        {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "lag", "namespace": "vision"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}},
        {"apiVersion": "serving.example/v1", "kind": "InferenceService", "metadata": {"name": "theirs"}},
    ]
    assert plan(resources).skipped == (
        "ScaledObject vision/lag: only the lag of one topic scales here; one process is always up",
        "Pod default/p: this kind means nothing to the local twin",
        "InferenceService default/theirs: this kind means nothing to the local twin",
    )


def test_spans_go_to_the_twins_own_store() -> None:
    """A collector is an image without a command here; nobody is told its address, another's address stays."""
    collector = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "labels-collector",
            "namespace": "vision",
            "labels": {"app.kubernetes.io/component": "collector"},
        },
        "spec": {"template": {"spec": {"containers": [{"name": "collector", "image": "otelcol"}]}}},
    }

    def exported_to(address: str) -> str | None:
        variables = [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": address}]
        service = changed(SERVICE, variables, "spec", "predictor", "containers", 0, "env")
        found = plan([service, collector])
        assert found.workloads == ()
        assert "Deployment vision/labels-collector: spans go to the twin's own trace store" in found.skipped
        return found.services[0].container.environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")

    assert exported_to("http://labels-collector.vision.svc.cluster.local:4318") is None
    assert exported_to("http://tempo.monitoring.svc.cluster.local:4318") is not None


def test_the_outermost_component_has_the_services_name() -> None:
    """The transformer where there is one, else the predictor."""
    alone = plan([SERVICE]).routes
    assert [route.names for route in alone] == [(Name("vision", "labels-predictor"), Name("vision", "labels"))]
    chain = plan([inference_service(predictor=component(), transformer=component())]).routes
    assert [len(route.names) for route in chain] == [1, 2]


def command_of(container: dict[str, Any], role: str = "predictor") -> tuple[tuple[str, ...], dict[str, str]]:
    """Words and environment of the replica of such a container, its port 8080 being 7000 and 9000 being 7001."""
    part = component()
    part["containers"][0].update(container)
    resource = inference_service()
    resource["spec"][role] = part
    service = next(one for one in plan([resource]).services if one.role == role)
    command = service_command(service, "labels-1", {8080: 7000, 9000: 7001}, AROUND)
    return command.argv, dict(command.environment)


@pytest.mark.parametrize(
    ("command", "args", "argv"),
    [
        (
            ["headrace", "serve"],
            ["--http-port=8080"],
            (*SERVE, "--http-port=7000"),
        ),
        (["headrace", "serve"], [], (*SERVE, "--http_port", "7000")),
        (
            ["headrace", "serve"],
            ["--http_port", "8080"],
            (*SERVE, "--http_port", "7000"),
        ),
        (["/usr/bin/python3", "-m", "x"], ["--grpc-port=9000"], (sys.executable, "-m", "x", "--grpc-port=7001")),
        (["./run.sh"], ["--port", "8080", "8080"], ("./run.sh", "--port", "7000", "8080")),
        (["python"], ["--size=8080"], (sys.executable, "--size=8080")),
    ],
)
def test_commands_run_on_this_machine(command: list[str], args: list[str], argv: tuple[str, ...]) -> None:
    """Headrace and python are those of the twin; ports in port flags are those of the replica, other numbers stay."""
    ports = [{"containerPort": 8080}, {"containerPort": 9000}]
    assert command_of({"command": command, "args": args, "ports": ports})[0] == argv


def test_a_transformers_own_arguments_win() -> None:
    """What the manifest has is not added again, in either spelling."""
    argv, _ = command_of({"args": ["--predictor-host=me:1", "--model_name=mine", "--http-port=8080"]}, "transformer")
    assert argv[2:] == ("--predictor-host=me:1", "--model_name=mine", "--http-port=7000")


def test_variables_are_expanded_as_kubernetes_does() -> None:
    """Earlier ones in later ones and in arguments; unknown ones stay; the pod's own name and namespace are known."""
    env = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)2 $$(A) $(NONE)"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "SPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
    ]
    argv, environment = command_of({"args": ["$(B)", "$(POD)"], "env": env})
    assert environment["B"] == "12 $(A) $(NONE)"
    assert (environment["POD"], environment["SPACE"], environment["HOSTNAME"]) == ("labels-1", "vision", "labels-1")
    assert argv[2:4] == ("12 $(A) $(NONE)", "labels-1")


def test_values_come_from_config_maps() -> None:
    """By key and whole; what has no source here is named, and left out."""
    part = component()
    part["containers"][0]["env"] = [
        {"name": "FILE", "valueFrom": {"configMapKeyRef": {"name": "labels-app", "key": "headrace.yaml"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    part["containers"][0]["envFrom"] = [{"configMapRef": {"name": "more"}, "prefix": "X_"}]
    more = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "more", "namespace": "vision"}}
    more["binaryData"] = {"a": base64.b64encode(b"b").decode()}
    done = plan([inference_service(predictor=part), CONFIG_MAP, more])
    assert done.services[0].container.environment == {"X_a": "b", "FILE": "kind: InferenceApp\n"}
    assert "'TOKEN': its valueFrom has no source on this machine" in done.skipped[0]


def test_a_workload_gets_local_addresses_and_paths() -> None:
    """Also in lists and with ports; a path that only begins alike stays."""
    resource = deployment(
        Path("/journal"), {"LIKE": "/etc/headrace-other /etc/headrace", "MIX": "x://labels.vision.svc/p"}
    )
    done = plan([resource, CONFIG_MAP])
    command = workload_command(done.workloads[0].container, done.workloads[0].name, {}, AROUND)
    folder = "/run/mounts/vision/config/labels-app"
    assert command.argv[2:] == ("-f", f"{folder}/headrace.yaml")
    assert command.environment["LIKE"] == f"/etc/headrace-other {folder}"
    assert command.environment["MIX"] == "x://127.0.0.1:5001/p"
    assert command.environment["K_SINK"] == "http://127.0.0.1:5001"
    assert command.environment["HEADRACE_WAKE"] == "http://127.0.0.1:5002,http://127.0.0.1:5001"
    assert command.environment["KAFKA_BOOTSTRAP_SERVERS"] == "127.0.0.1:9092"
    assert command.environment["HOME"] == "/home/me"


def test_mounts_are_put_in_place_in_one_pass() -> None:
    """The folder that stands for one mount may lie below the path of another: it is not replaced again."""
    resource = deployment(Path("/journal"))
    pod = resource["spec"]["template"]["spec"]
    pod["volumes"].append({"name": "tmp", "emptyDir": {}})
    pod["containers"][0]["volumeMounts"].insert(0, {"name": "tmp", "mountPath": "/run"})
    pod["containers"][0]["args"] = ["/etc/headrace/headrace.yaml", "/run/x"]
    done = plan([resource, CONFIG_MAP])
    command = workload_command(done.workloads[0].container, done.workloads[0].name, {}, AROUND)
    assert command.argv[2:] == (
        "/run/mounts/vision/config/labels-app/headrace.yaml",
        "/run/mounts/vision/empty/labels-dispatcher-tmp/x",
    )


def test_cluster_names_that_nothing_here_has_are_found() -> None:
    """So that the twin can say so, instead of a name that does not resolve; Kafka's is replaced anyway."""
    done = plan([deployment(Path("/journal"), {"STORE": "http://store.other.svc.cluster.local:80/x"}), CONFIG_MAP])
    known = frozenset(ADDRESSES)
    assert unknown_hosts(done.workloads[0].container, known) == ["store.other.svc.cluster.local:80"]


def test_topics() -> None:
    """The topic's own name before the resource's, and its settings as text."""
    topic = {"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaTopic", "metadata": {"name": "plain"}}
    named = {**topic, "spec": {"topicName": "My.Topic", "partitions": 8, "config": {"retention.ms": 5}}}
    found = topics_of([topic, SERVICE, named])
    assert [(one.name, one.partitions, dict(one.config)) for one in found] == [
        ("plain", 1, {}),
        ("My.Topic", 8, {"retention.ms": "5"}),
    ]
