"""What the manifests say of scaling: KServe's fields, Knative's annotations, the cluster's settings, the faults."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from tests.local.conftest import component, inference_service

from headrace.errors import ConfigurationError
from headrace.local.plan import plan
from headrace.local.resources import Scale

KN = "autoscaling.knative.dev/"


def scale_of(beside: dict[str, Any], annotations: dict[str, str], *others: dict[str, Any]) -> Scale:
    """The scale of a component with these fields and annotations."""
    part = {**component(), **beside, "annotations": annotations}
    return plan([inference_service(predictor=part), *others]).services[0].scale


def differences(scale: Scale) -> dict[str, Any]:
    """What is not as Knative has it without a word."""
    usual = Scale(maximum=1)
    return {
        each.name: value for each in fields(scale) if (value := getattr(scale, each.name)) != getattr(usual, each.name)
    }


@pytest.mark.parametrize(
    ("beside", "annotations", "differs"),
    [
        ({}, {}, {}),
        ({"scaleTarget": 10, "maxReplicas": 4}, {}, {"target": 7.0, "total": 10.0, "maximum": 4}),
        ({"containerConcurrency": 10}, {}, {"target": 7.0, "total": 10.0, "concurrency": 10}),
        ({"containerConcurrency": 10, "scaleTarget": 80}, {}, {"target": 7.0, "total": 10.0, "concurrency": 10}),
        ({}, {"target": "10", "target-utilization-percentage": "100"}, {"target": 10.0, "total": 10.0}),
        ({}, {"target": "0.01"}, {"target": 0.01, "total": 0.01}),
        ({}, {"metric": "rps"}, {"metric": "rps", "target": 140.0, "total": 200.0}),
        ({"scaleMetric": "rps", "scaleTarget": 10}, {}, {"metric": "rps", "target": 7.0, "total": 10.0}),
        (
            {"containerConcurrency": 5},
            {"metric": "rps", "target": "10"},
            {"metric": "rps", "target": 7.0, "total": 10.0, "concurrency": 5},
        ),
        ({}, {"window": "1m30s"}, {"window": 90.0, "panic_window": 9.0}),
        ({}, {"window": "6s"}, {"window": 6.0, "panic_window": 1.0}),
        ({}, {"panic-window-percentage": "25"}, {"panic_window": 15.0}),
        ({}, {"panic-threshold-percentage": "150.5"}, {"panic_threshold": 150.5}),
        ({}, {"target-burst-capacity": "-1"}, {"burst": -1.0}),
        ({}, {"target-burst-capacity": "0"}, {"burst": 0.0}),
        ({}, {"scale-to-zero-pod-retention-period": "500ms"}, {"retention": 0.5}),
        ({}, {"scale-down-delay": "15m"}, {"delay": 900.0}),
        ({}, {"initial-scale": "1"}, {"initial": 1}),
        ({"maxReplicas": 3}, {"activation-scale": "3"}, {"maximum": 3, "activation": 3}),
        ({}, {"metric-aggregation-algorithm": "weighted-exponential"}, {"weighted": True}),
        ({"minReplicas": 1}, {"min-scale": "2", "max-scale": "3"}, {"minimum": 2, "maximum": 3}),
        ({}, {"minScale": "1", "targetUtilizationPercentage": "50"}, {"minimum": 1, "target": 50.0}),
        ({}, {"minScale": "1", "min-scale": "0"}, {}),
    ],
)
def test_scale_is_read_as_the_controllers_do(
    beside: dict[str, Any], annotations: dict[str, str], differs: dict[str, Any]
) -> None:
    """KServe's fields, Knative's annotations before them, Knative's defaults; names in camel case as well."""
    found = differences(scale_of(beside, {KN + name: value for name, value in annotations.items()}))
    assert found == pytest.approx(differs)


def test_headraces_idle_time_stands_beside_them() -> None:
    """Exact, and none unless written."""
    assert scale_of({}, {"headrace.dev/idle": "2s"}).idle == 2.0
    assert scale_of({}, {}).idle is None


def test_replicas_left_out_are_kserves_defaults() -> None:
    """One at least, any number at most."""
    part = component()
    del part["minReplicas"], part["maxReplicas"]
    scale = plan([inference_service(predictor=part)]).services[0].scale
    assert (scale.minimum, scale.maximum) == (1, 0)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("window", "5s", "whole seconds from 6s to 1h"),
        ("window", "61m", "whole seconds from 6s to 1h"),
        ("window", "6.5s", "whole seconds from 6s to 1h"),
        ("window", "soon", "not a duration"),
        ("min-scale", "-1", "a whole number of 0 or more"),
        ("max-scale", "many", "a whole number of 0 or more"),
        ("initial-scale", "-1", "a whole number of 0 or more"),
        ("activation-scale", "1", "a whole number of 2 or more"),
        ("target", "0", "a number from 0.01 on"),
        ("target", "nan", "a number from 0.01 on"),
        ("target-utilization-percentage", "101", "a number from 1 to 100"),
        ("target-burst-capacity", "-2", "a number from 0 on"),
        ("panic-window-percentage", "0.5", "a number from 1 to 100"),
        ("panic-threshold-percentage", "109", "a number from 110 to 1000"),
        ("scale-down-delay", "1500ms", "whole seconds from 0s to 1h"),
        ("scale-to-zero-pod-retention-period", "2h", "a duration from 0s to 1h"),
        ("metric", "lag", "not concurrency or rps"),
        ("metric-aggregation-algorithm", "median", "not one of linear, weighted-exponential"),
        ("class", "mine.autoscaling.knative.dev", "not one of kpa.autoscaling.knative.dev"),
    ],
)
def test_an_invalid_annotation_is_named(name: str, value: str, fault: str) -> None:
    """With the resource, its path, the value, and what it may be."""
    with pytest.raises(ConfigurationError) as caught:
        scale_of({}, {KN + name: value})
    assert f"InferenceService vision/labels: spec.predictor.annotations.{KN}{name} is " in str(caught.value)
    assert fault in str(caught.value)


def test_scales_that_contradict_each_other_are_named() -> None:
    """As Knative's webhook refuses them."""
    for name, value in (("min-scale", "3"), ("activation-scale", "5")):
        with pytest.raises(ConfigurationError, match=r"predictor\.annotations"):
            scale_of({"maxReplicas": 2}, {KN + name: value})


def test_a_concurrency_above_knatives_limit_is_named() -> None:
    """config-defaults: 1000."""
    with pytest.raises(ConfigurationError, match="containerConcurrency above 1000"):
        scale_of({"containerConcurrency": 1001}, {})


@pytest.mark.parametrize(
    ("annotations", "beside", "told"),
    [
        ({}, {"scaleMetric": "cpu"}, "metric 'cpu': scaled by concurrency here"),
        ({KN + "class": "hpa.autoscaling.knative.dev"}, {}, "scaled by Knative's own, the kpa, here"),
        ({KN + "class": "keda.example"}, {}, "'keda.example': scaled by Knative's own, the kpa, here"),
    ],
)
def test_another_scaler_than_the_kpa_is_named(annotations: dict[str, str], beside: dict[str, Any], told: str) -> None:
    """It is not followed in silence."""
    part = {**component(), **beside, "annotations": annotations}
    done = plan([inference_service(predictor=part)])
    assert done.services[0].scale.target == 70.0
    assert any(told in note for note in done.skipped), done.skipped


def config(**data: str) -> dict[str, Any]:
    """The cluster's settings of the autoscaler."""
    about = {"name": "config-autoscaler", "namespace": "knative-serving"}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": about,
        "data": {key.replace("_", "-"): value for key, value in data.items()},
    }


def test_the_clusters_settings_are_followed() -> None:
    """Those of config-autoscaler, where it stands among the manifests; an annotation goes before."""
    scale = scale_of(
        {},
        {KN + "window": "30s"},
        config(
            stable_window="90s",
            max_scale_up_rate="10",
            max_scale_down_rate="1.5",
            scale_to_zero_grace_period="5s",
            enable_scale_to_zero="false",
            container_concurrency_target_default="50",
            container_concurrency_target_percentage="80",
        ),
    )
    assert differences(scale) == {
        "window": 30.0,
        "panic_window": 3.0,
        "up_rate": 10.0,
        "down_rate": 1.5,
        "grace": 5.0,
        "to_zero": False,
        "target": 40.0,
        "total": 50.0,
    }


def test_a_wrong_setting_of_the_cluster_is_named() -> None:
    """As one in an annotation."""
    with pytest.raises(ConfigurationError, match=r"config-autoscaler: data\.max-scale-down-rate is '1'"):
        scale_of({}, {}, config(max_scale_down_rate="1"))
