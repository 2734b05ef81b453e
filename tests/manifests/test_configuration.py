"""Settings, secrets by reference, vaults, and models kept on nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from headrace.manifests.rendering import render, render_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]


def parts_of(app: InferenceApp) -> dict[str, Any]:
    """Predictor and transformer of the app's InferenceService."""
    (found,) = [each["spec"] for each in render(app) if each["kind"] == "InferenceService"]
    spec: dict[str, Any] = found
    return spec


def test_settings_are_shared_and_a_change_makes_new_pods(app_of: MakeApp) -> None:
    """One ConfigMap for both, read when a pod starts; the component's own variables go before it."""
    spec = {
        "config": {"LEVEL": "debug", "A": "1"},
        "predictor": {"env": {"A": "2"}, "envFrom": [{"secret": "mine", "prefix": "P_"}, {"configMap": "shared"}]},
        "transformer": {"class": "a:B"},
    }
    app = app_of(spec=spec)
    (config,) = [each for each in render(app) if each["metadata"]["name"] == "echo-config"]
    assert config["data"] == {"LEVEL": "debug", "A": "1"}
    parts = parts_of(app)
    predictor, transformer = (parts[role]["containers"][0] for role in ("predictor", "transformer"))
    assert predictor["envFrom"] == [
        {"configMapRef": {"name": "echo-config"}},
        {"prefix": "P_", "secretRef": {"name": "mine"}},
        {"configMapRef": {"name": "shared"}},
    ]
    assert transformer["envFrom"] == [{"configMapRef": {"name": "echo-config"}}]
    assert {"name": "A", "value": "2"} in predictor["env"]
    changed = parts_of(app_of(spec={**spec, "config": {"LEVEL": "info", "A": "1"}}))
    key = "headrace.dev/config-checksum"
    assert changed["predictor"]["annotations"][key] != parts["predictor"]["annotations"][key]
    assert key not in parts_of(app_of())["predictor"]["annotations"]


def test_secrets_are_named_never_written(app_of: MakeApp) -> None:
    """The file has no place for a value; the pod waits for a secret that is missing unless it is optional."""
    secrets = {"TOKEN": {"name": "mine", "key": "a.b"}, "MAYBE": {"name": "other", "key": "k", "optional": True}}
    container = parts_of(app_of(spec={"predictor": {"secrets": secrets}}))["predictor"]["containers"][0]
    found = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each}
    assert found == {
        "TOKEN": {"name": "mine", "key": "a.b"}, "MAYBE": {"name": "other", "key": "k", "optional": True},
    }  # fmt: skip


def test_a_vaults_secrets_are_fetched_by_their_operator(app_of: MakeApp) -> None:
    """Key by key, with the property of a path where one is named."""
    vault = {
        "name": "mine",
        "store": "vault",
        "storeKind": "SecretStore",
        "refresh": "90s",
        "keys": {"a.b": "team/x#t", "c": "y"},
    }
    (found,) = [each for each in render(app_of(spec={"externalSecrets": [vault]})) if each["kind"] == "ExternalSecret"]
    assert found["metadata"]["name"] == found["spec"]["target"]["name"] == "mine"
    assert found["spec"]["secretStoreRef"] == {"kind": "SecretStore", "name": "vault"}
    assert found["spec"]["refreshInterval"] == "90s"
    assert found["spec"]["data"] == [
        {"secretKey": "a.b", "remoteRef": {"key": "team/x", "property": "t"}},
        {"secretKey": "c", "remoteRef": {"key": "y"}},
    ]


def test_a_model_is_kept_on_nodes(app_of: MakeApp) -> None:
    """KServe knows the cache by the URI, which can never be changed: another model gets another cache."""
    cache = {"size": "3Gi", "nodeGroups": ["gpus"], "serviceAccount": "reader"}
    found = []
    for model in ("s3://b/one", "s3://b/two"):
        resources = render(app_of(spec={"predictor": {"model": model, "cache": cache}}))
        (kept,) = [each for each in resources if each["kind"] == "LocalModelCache"]
        assert kept["spec"] == {
            "sourceModelUri": model, "modelSize": "3Gi", "nodeGroups": ["gpus"], "serviceAccountName": "reader",
        }  # fmt: skip
        assert "namespace" not in kept["metadata"]
        found.append(kept["metadata"]["name"])
    assert len(set(found)) == 2


def test_apps_of_one_name_in_two_namespaces_have_two_caches(app_of: MakeApp) -> None:
    """What belongs to the cluster carries the namespace in its name."""
    spec = {"predictor": {"model": "hf://a/b", "cache": {"size": "1Gi", "nodeGroups": ["g"]}}}
    apps = [app_of(metadata={"namespace": namespace}, spec=spec) for namespace in ("a", "b")]
    assert len([each for each in render_all(apps) if each["kind"] == "LocalModelCache"]) == 2


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"predictor": {"secrets": {"A": {"name": "m", "key": "k"}}, "env": {"A": "1"}}}, "A: given under env as well"),
        ({"predictor": {"secrets": {"K_SINK": {"name": "m", "key": "k"}}}}, "set by Knative"),
        ({"predictor": {"secrets": {"A": {"name": "m", "key": "a/b"}}}}, "a key has letters"),
        ({"predictor": {"secrets": {"A": {"name": "m", "key": "k", "value": "hush"}}}}, "Extra inputs"),
        ({"predictor": {"envFrom": [{}]}}, "one of configMap and secret"),
        ({"predictor": {"envFrom": [{"configMap": "a", "secret": "b"}]}}, "one of configMap and secret"),
        ({"predictor": {"envFrom": [{"configMap": "a", "prefix": "1"}]}}, "a prefix has letters"),
        ({"predictor": {"cache": {"size": "1Gi", "nodeGroups": ["g"]}}}, "can be kept on nodes"),
        (
            {"predictor": {"model": "oci://r.io/m", "cache": {"size": "1Gi", "nodeGroups": ["g"]}}},
            "can be kept on nodes",
        ),
        ({"predictor": {"model": "s3://b/m", "cache": {"size": "1Gi", "nodeGroups": []}}}, "at least 1"),
        ({"config": {"a-b": "1"}}, "a variable's name"),
        ({"externalSecrets": [{"name": "m", "store": "v", "keys": {}}]}, "at least 1"),
        ({"externalSecrets": [{"name": "m", "store": "v", "keys": {"a": "b"}, "refresh": "1s"}]}, "between 1m and 24h"),
    ],
)
def test_what_cannot_be_is_refused(app_of: MakeApp, spec: dict[str, Any], reason: str) -> None:
    """With the reason and the remedy."""
    with pytest.raises(ValidationError, match=reason):
        app_of(spec=spec)
