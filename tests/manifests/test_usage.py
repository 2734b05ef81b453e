"""What `usage` renders: where servers tell of it, and what they need for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from headrace.manifests.options import RenderOptions
from headrace.manifests.rendering import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]


def _service(app: InferenceApp) -> dict[str, Any]:
    (found,) = [each for each in render(app) if each["kind"] == "InferenceService"]
    return dict(found["spec"])


def _variables(component: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value") for each in component["containers"][0]["env"]}


def test_servers_are_told_where_whose_and_how_large(app_of: MakeApp) -> None:
    """Topic, tenant, Kafka, and the replica's own size, for predictor and transformer alike."""
    predictor = {"resources": {"cpu": 2, "memory": "4Gi", "gpu": 1}}
    spec = {"usage": {"tenant": {"header": "X-Team"}}, "transformer": {"class": "a:T"}, "predictor": predictor}
    found = _service(app_of(spec=spec))
    variables = _variables(found["predictor"])
    assert variables["HEADRACE_USAGE_TOPIC"] == "headrace.usage"
    assert variables["HEADRACE_USAGE_TENANT"] == "header:x-team"
    assert variables["HEADRACE_REPLICA_SIZE"] == "cpu=2,memory=4294967296,gpu=1"
    assert variables["KAFKA_BOOTSTRAP_SERVERS"] == RenderOptions().kafka
    assert _variables(found["transformer"])["HEADRACE_REPLICA_SIZE"] == "cpu=1,memory=2147483648,gpu=0"


def test_an_app_that_is_not_metered_has_none_of_it(app_of: MakeApp) -> None:
    """Off unless asked for: no variable, no topic."""
    app = app_of()
    assert not any("USAGE" in name or "KAFKA" in name for name in _variables(_service(app)["predictor"]))
    assert "headrace.usage" not in {each["spec"].get("topicName") for each in render(app) if "spec" in each}


def test_servers_log_in_to_kafka_as_the_dispatcher_does(app_of: MakeApp) -> None:
    """The Secret's variables and certificates, and the right to write to the topic, no more."""
    app = app_of(spec={"usage": {}, "kafka": {"secret": "kafka", "user": True}})
    predictor = _service(app)["predictor"]
    assert "KAFKA_SASL_PASSWORD" in _variables(predictor)
    assert {"name": "kafka", "mountPath": "/etc/headrace-kafka", "readOnly": True} in predictor["containers"][0][
        "volumeMounts"
    ]
    assert "kafka" in {volume["name"] for volume in predictor["volumes"]}
    (user,) = [each for each in render(app) if each["kind"] == "KafkaUser"]
    (right,) = [each for each in user["spec"]["authorization"]["acls"] if each["resource"]["name"] == "headrace.usage"]
    assert right["operations"] == ["Write", "Describe"]


def test_the_topic_is_rendered_and_the_way_to_it_is_open(app_of: MakeApp) -> None:
    """A month and some days of usage are kept; the network policy lets servers reach Kafka."""
    resources = render(app_of(spec={"usage": {"topic": "bills"}, "network": {}}, metadata={"namespace": "lab"}))
    (topic,) = [each for each in resources if each["kind"] == "KafkaTopic" and each["spec"]["topicName"] == "bills"]
    assert topic["spec"]["config"]["retention.ms"] == 35 * 24 * 3600 * 1000
    policies = {each["metadata"]["name"]: each["spec"] for each in resources if each["kind"] == "NetworkPolicy"}
    ports = {port["port"] for rule in policies["echo-predictor"]["egress"] for port in rule["ports"]}
    assert 9092 in ports


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ({"topic": "words"}, "usage of usage"),
        ({"topic": "words.dead-letters"}, "readers mix them up"),
        ({"tenant": {"attribute": "Tenant"}}, "up to 20 of a-z and 0-9"),
        ({"tenant": {"header": "no header"}}, "name of an HTTP header"),
        ({"tenant": {"attribute": "a", "apiKey": "b"}}, "stands in one place"),
    ],
)
def test_mistakes_are_told(app_of: MakeApp, usage: dict[str, Any], told: str) -> None:
    """Each with what to write instead."""
    with pytest.raises(ValidationError, match=told):
        app_of(spec={"usage": usage})
