"""GPUs, nodes, shared memory, one pod for both, and how replicas come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from headrace.manifests.rendering import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]


def service_of(app: InferenceApp) -> dict[str, Any]:
    """The spec of the app's InferenceService."""
    (found,) = [each["spec"] for each in render(app) if each["kind"] == "InferenceService"]
    spec: dict[str, Any] = found
    return spec


@pytest.mark.parametrize("device", ["nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "nvidia.com/gpu.shared", "amd.com/gpu"])
def test_gpus_are_limits_under_their_device_plugins_name(app_of: MakeApp, device: str) -> None:
    """Whole, a MIG slice, time-sliced, another maker's; a device that nobody asks for is not there."""
    app = app_of(spec={"predictor": {"resources": {"gpu": 2, "gpuResource": device}}})
    (container,) = service_of(app)["predictor"]["containers"]
    assert container["resources"]["limits"][device] == "2"
    none = app_of(spec={"predictor": {"resources": {"gpuResource": device}}})
    assert device not in service_of(none)["predictor"]["containers"][0]["resources"]["limits"]


def test_pods_go_to_the_nodes_that_are_meant(app_of: MakeApp) -> None:
    """Selector, tolerations and runtime class stand in the component's pod; without `nodes` none of them does."""
    nodes = {
        "selector": {"nvidia.com/gpu.product": "NVIDIA-L4"},
        "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}, {"key": "team", "value": "vision"}],
        "runtimeClass": "nvidia",
    }
    spec = service_of(
        app_of(spec={"predictor": {"nodes": nodes, "serviceAccount": "reader"}, "transformer": {"class": "a:B"}})
    )
    assert spec["predictor"]["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert spec["predictor"]["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "operator": "Equal", "value": "vision"},
    ]
    assert (spec["predictor"]["runtimeClassName"], spec["predictor"]["serviceAccountName"]) == ("nvidia", "reader")
    assert not {"nodeSelector", "tolerations", "runtimeClassName", "serviceAccountName"} & spec["transformer"].keys()


def test_shared_memory_is_a_folder_in_memory(app_of: MakeApp) -> None:
    """Mounted where C libraries look for it, bounded, and only where it is asked for."""
    predictor = service_of(app_of(spec={"predictor": {"resources": {"sharedMemory": "1Gi"}}}))["predictor"]
    (volume,) = predictor["volumes"]
    (mount,) = predictor["containers"][0]["volumeMounts"]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/dev/shm")
    assert "volumes" not in service_of(app_of())["predictor"]


def test_a_collocated_transformer_runs_in_the_predictors_pod(app_of: MakeApp) -> None:
    """Under KServe's name for it, with the one port of the pod; the model is its neighbour, and no other service."""
    shared = {"resources": {"sharedMemory": "64Mi"}}
    app = app_of(spec={"predictor": shared, "transformer": {"class": "a:B", "collocated": True, **shared}})
    spec = service_of(app)
    assert spec.keys() == {"predictor"}
    model, transformer = spec["predictor"]["containers"]
    assert (model["name"], transformer["name"]) == ("kserve-container", "transformer-container")
    port = next(each for each in model["args"] if each.startswith("--http-port=")).partition("=")[2]
    assert f"--predictor-host=localhost:{port}" in transformer["args"]
    assert "--http-port=8080" in transformer["args"]
    assert port != "8080"
    assert "ports" in transformer
    assert not {"ports", "readinessProbe"} & model.keys()
    assert len({each["name"] for each in spec["predictor"]["volumes"]}) == 2
    (dispatcher,) = [each for each in render(app) if each["kind"] == "Deployment"]
    env = dispatcher["spec"]["template"]["spec"]["containers"][0]["env"]
    (wake,) = [each["value"] for each in env if each["name"] == "HEADRACE_WAKE"]
    assert wake == "http://echo-predictor.default.svc.cluster.local"


def test_replicas_come_and_go_as_asked(app_of: MakeApp) -> None:
    """Each detail is Knative's own annotation, and absent where the spec says nothing."""
    scale = {"min": 1, "max": 9, "target": 30, "limit": 40, "initial": 2, "activation": 3, "burst": -1, "delay": "15m"}
    predictor = service_of(app_of(spec={"predictor": {"scale": scale}}))["predictor"]
    wanted = {"initial-scale": "2", "activation-scale": "3", "target-burst-capacity": "-1", "scale-down-delay": "15m"}
    assert {f"autoscaling.knative.dev/{key}": value for key, value in wanted.items()}.items() <= predictor[
        "annotations"
    ].items()
    assert (predictor["containerConcurrency"], predictor["scaleTarget"]) == (40, 30)
    plain = service_of(app_of())["predictor"]
    assert not [key for key in plain["annotations"] if key.rpartition("/")[2] in wanted]


def test_timeouts_hold_a_cold_start(app_of: MakeApp) -> None:
    """The dispatcher waits for the replica first; Knative holds the request meanwhile, ten minutes at most."""
    trigger = {"timeout": "30s", "coldStart": "4m"}
    for delivery, cold, seconds in [
        ("headrace", "4m", 30),
        ("knative-source", "4m", 270),
        ("knative-broker", "1h", 600),
    ]:
        app = app_of(spec={"trigger": {**trigger, "coldStart": cold, "delivery": delivery}})
        predictor = service_of(app)["predictor"]
        assert predictor["timeout"] == seconds
        assert predictor["annotations"]["serving.knative.dev/progress-deadline"] == cold


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"predictor": {"resources": {"gpuResource": "gpu"}}}, "device plugin"),
        ({"predictor": {"resources": {"gpuResource": "kubernetes.io/gpu"}}}, "device plugin"),
        ({"predictor": {"resources": {"sharedMemory": "2Gi"}}}, "leaves nothing"),
        ({"predictor": {"nodes": {"tolerations": [{"key": "a b"}]}}}, "taint's key"),
        ({"predictor": {"scale": {"limit": 4}}}, "limit is below target, which is 8"),
        ({"predictor": {"scale": {"target": 4, "limit": 8}}}, "a batch of 32 never fills"),
        ({"predictor": {"scale": {"max": 3, "activation": 4}}}, "more than max, which is 3"),
        ({"predictor": {"scale": {"max": 3, "initial": 4}}}, "more than max, which is 3"),
        ({"predictor": {"scale": {"delay": "1500ms"}}}, "whole seconds"),
        ({"transformer": {"class": "a:B", "collocated": True, "scale": {"max": 2}}}, "remove scale here"),
        (
            {"transformer": {"class": "a:B", "collocated": True, "nodes": {}, "serviceAccount": "x"}},
            "remove nodes and serviceAccount here",
        ),
    ],
)
def test_what_cannot_be_is_refused(app_of: MakeApp, spec: dict[str, Any], reason: str) -> None:
    """With the reason and the remedy, before any cluster sees it."""
    with pytest.raises(ValidationError, match=reason):
        app_of(spec=spec)
