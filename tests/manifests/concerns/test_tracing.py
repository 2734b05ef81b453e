"""Where spans go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pydantic import ValidationError

from headrace.manifests.concerns.tracing import endpoint
from headrace.manifests.lint.engine import lint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.manifests.resource import Resource
    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]
    Render = Callable[..., list[Resource]]


def environments(found: list[Resource]) -> dict[str, dict[str, str]]:
    """The plain variables of the app's own containers, by role."""
    containers = {}
    for each in found:
        if each["kind"] == "Deployment":
            role = each["metadata"]["labels"]["app.kubernetes.io/component"]
            containers[role] = each["spec"]["template"]["spec"]["containers"][0]
        elif each["kind"] == "InferenceService":
            containers |= {role: part["containers"][0] for role, part in each["spec"].items()}
    return {
        role: {one["name"]: one["value"] for one in each["env"] if "value" in one} for role, each in containers.items()
    }


def collector(found: list[Resource]) -> dict[str, Any]:
    """The collector's configuration."""
    (config,) = [each for each in found if each["metadata"]["name"] == "picture-labels-collector" and "data" in each]
    read: dict[str, Any] = yaml.safe_load(config["data"]["config.yaml"])
    return read


def test_every_container_sends_its_spans_to_the_collector(plain: MakeApp, resources: Render) -> None:
    """To the address of the Service in front of it, with one sampling decision for the whole chain."""
    app = plain(tracing={"sampling": 0.25})
    found = resources(app)
    (service,) = [each for each in found if each["kind"] == "Service"]
    about = service["metadata"]
    address = f"http://{about['name']}.{about['namespace']}.svc.cluster.local:{service['spec']['ports'][0]['port']}"
    own = {role: each for role, each in environments(found).items() if role != "collector"}
    assert set(own) == {"dispatcher", "predictor", "transformer"}
    for each in own.values():
        assert each["OTEL_EXPORTER_OTLP_ENDPOINT"] == address == endpoint(app)
        assert each["OTEL_EXPORTER_OTLP_PROTOCOL"] == "http/protobuf"
        assert (each["OTEL_TRACES_SAMPLER"], each["OTEL_TRACES_SAMPLER_ARG"]) == ("parentbased_traceidratio", "0.25")
        assert "service.namespace=vision" in each["OTEL_RESOURCE_ATTRIBUTES"].split(",")
    (deployment,) = [each for each in found if each["metadata"]["name"] == about["name"] and "spec" in each][:1]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_what_the_user_says_of_spans_stands(plain: MakeApp, resources: Render) -> None:
    """A variable of the app's is never overwritten, nor written twice."""
    app = plain(tracing={}, predictor={"env": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://mine:1"}})
    (service,) = resources(app, "InferenceService")
    env = service["spec"]["predictor"]["containers"][0]["env"]
    names = [each["name"] for each in env]
    assert len(names) == len(set(names))
    assert environments([service])["predictor"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://mine:1"


def test_settings_of_the_app_are_not_hidden(plain: MakeApp, resources: Render) -> None:
    """A container's own variable hides one of its ConfigMap, so none is written that the app's `config` has."""
    found = resources(plain(tracing={}, config={"OTEL_TRACES_SAMPLER_ARG": "0.5"}))
    for role in ("predictor", "transformer"):
        assert "OTEL_TRACES_SAMPLER_ARG" not in environments(found)[role]
        assert "OTEL_TRACES_SAMPLER" in environments(found)[role]
    assert environments(found)["dispatcher"]["OTEL_TRACES_SAMPLER_ARG"] == "1"


def test_a_collector_that_is_there_is_used(plain: MakeApp, resources: Render) -> None:
    """Then none is rendered."""
    app = plain(tracing={"endpoint": "http://otel.tools.svc:4318"})
    assert environments(resources(app))["predictor"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://otel.tools.svc:4318"
    assert not [each for each in resources(app) if "collector" in each["metadata"]["name"]]


def test_failures_and_slow_traces_are_kept(plain: MakeApp, resources: Render) -> None:
    """Whatever share is kept of the rest."""
    part = {"collector": {"keep": 0.02, "slow": "1500ms", "export": "http://tempo:4318"}}
    found = collector(resources(plain(tracing=part)))
    failed, slow, rest = found["processors"]["tail_sampling"]["policies"]
    assert failed["status_code"]["status_codes"] == ["ERROR"]
    assert slow["latency"]["threshold_ms"] == 1500
    assert rest["probabilistic"]["sampling_percentage"] == 2
    assert found["exporters"]["otlphttp"]["endpoint"] == "http://tempo:4318"


@pytest.mark.parametrize("part", [{}, {"collector": {"export": "https://tempo.example.com"}}])
def test_the_collectors_pipeline_names_what_there_is(plain: MakeApp, resources: Render, part: dict[str, Any]) -> None:
    """A collector refuses to start over a name that stands nowhere; memory is bounded before anything is held."""
    found = collector(resources(plain(tracing=part)))
    (pipeline,) = found["service"]["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) == set(found[kind])
    assert pipeline["processors"][0] == "memory_limiter"
    assert set(found["service"]["extensions"]) == set(found["extensions"])


def test_a_changed_configuration_makes_a_new_collector(plain: MakeApp, resources: Render) -> None:
    """It reads its file when it starts."""

    def checksum(keep: float) -> str:
        found = resources(plain(tracing={"collector": {"keep": keep}}), "Deployment")
        (one,) = [each for each in found if each["metadata"]["name"] == "picture-labels-collector"]
        return str(one["spec"]["template"]["metadata"]["annotations"]["headrace.dev/config-checksum"])

    assert checksum(0.1) != checksum(0.2)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"endpoint": "otel:4317"}, "http://HOST:4318"),
        ({"sampling": 1.5}, "less than or equal to 1"),
        ({"endpoint": "http://a:1", "collector": {}}, "remove endpoint or collector"),
        ({"collector": {"slow": "1h"}}, "between"),
    ],
)
def test_a_wrong_setting_is_refused(plain: MakeApp, part: dict[str, Any], said: str) -> None:
    """With the remedy."""
    with pytest.raises(ValidationError, match=said):
        plain(tracing=part)


def test_the_cluster_is_told_nothing_and_its_administrator_all(prod: MakeApp, resources: Render) -> None:
    """Knative's ConfigMaps are Knative's: no manifest bears their name, the patches lie beside the app."""
    found = resources(prod(disruption={"models": True}, domain={"host": "p.example.com"}))
    assert not [each for each in found if each["metadata"]["name"].startswith("config-")]
    (settings,) = [each for each in found if each["metadata"]["name"] == "picture-labels-cluster-settings"]
    assert settings["metadata"]["namespace"] == "vision"
    patches = {name: yaml.safe_load(text)["data"] for name, text in settings["data"].items()}
    assert patches["knative-serving.config-observability.yaml"]["tracing-endpoint"] == (
        "http://picture-labels-collector.vision.svc.cluster.local:4318/v1/traces"
    )
    assert patches["knative-serving.config-features.yaml"] == {
        "kubernetes.podspec-priorityclassname": "enabled",
        "kubernetes.podspec-topologyspreadconstraints": "enabled",
    }
    assert patches["knative-serving.config-network.yaml"] == {
        "external-domain-tls": "Enabled", "mesh-compatibility-mode": "enabled",
    }  # fmt: skip
    assert all(isinstance(value, str) for each in patches.values() for value in each.values())


def test_kserves_own_setting_is_said_where_asked_for(prod: MakeApp, resources: Render, tmp_path: Path) -> None:
    """With the words of KServe 0.21's client; a cluster without the field would refuse the whole service."""
    (service,) = resources(prod(), "InferenceService")
    assert "tracing" not in service["spec"]
    (service,) = resources(prod(tracing={"kserve": True, "sampling": 0.25}), "InferenceService")
    assert service["spec"]["tracing"] == {
        "exporter": "otlp",
        "exporterEndpoint": "http://picture-labels-collector.vision.svc.cluster.local:4318",
        "sampler": "parentbased_traceidratio",
        "samplerArg": "0.25",
    }
    (tmp_path / "service.yaml").write_text(yaml.safe_dump(service))
    assert not [each for each in lint([str(tmp_path)]).findings if "tracing" in each.path]
    service["spec"]["tracing"]["exporterEndpont"] = "http://a"
    (tmp_path / "service.yaml").write_text(yaml.safe_dump(service))
    assert [each.path for each in lint([str(tmp_path)]).findings if "tracing" in each.path]


def test_the_settings_lie_beside_every_app_that_needs_some(plain: MakeApp, resources: Render) -> None:
    """GPU nodes, a replica of none at first: also without traces and metrics; an app that needs none carries none."""

    def settings(**spec: Any) -> dict[str, str]:
        found = [
            each for each in resources(plain(**spec), "ConfigMap") if "cluster-settings" in each["metadata"]["name"]
        ]
        return found[0]["data"] if found else {}

    assert settings() == {}
    nodes = {"selector": {"pool": "gpu"}, "tolerations": [{"key": "gpu"}], "runtimeClass": "nvidia"}
    (features,) = settings(predictor={"nodes": nodes}).values()
    assert set(yaml.safe_load(features)["data"]) == {
        f"kubernetes.podspec-{name}" for name in ("nodeselector", "tolerations", "runtimeclassname")
    }
    first = settings(predictor={"scale": {"initial": 0}})
    assert first == {"knative-serving.config-autoscaler.yaml": 'data:\n  allow-zero-initial-scale: "true"\n'}


@pytest.mark.parametrize("model", ["pvc://claim/m", "s3://b/m"])
def test_a_models_store_needs_no_flag(plain: MakeApp, resources: Render, model: str) -> None:
    """KServe's webhook puts initializer and volume into the pods themselves, which Knative does not look at."""
    found = resources(plain(predictor={"model": model}), "ConfigMap")
    assert not [each for each in found if each["metadata"]["name"] == "picture-labels-cluster-settings"]


def test_kserves_tracing_needs_a_flag(plain: MakeApp, resources: Render) -> None:
    """Its variables name pod and node by reference, which Knative refuses otherwise."""
    found = resources(plain(tracing={"kserve": True}), "ConfigMap")
    (settings,) = [each for each in found if each["metadata"]["name"] == "picture-labels-cluster-settings"]
    assert "kubernetes.podspec-fieldref: enabled" in settings["data"]["knative-serving.config-features.yaml"]
