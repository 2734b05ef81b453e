"""Events by Knative: what a source, a broker and their filters are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from headrace.errors import ConfigurationError
from headrace.eventing.results import ERROR_TYPE, RESULT_TYPE
from headrace.manifests.loading import parse_apps
from headrace.manifests.options import RenderOptions
from headrace.manifests.rendering import render
from headrace.manifests.yaml_text import to_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]
OPTIONS = RenderOptions(kafka="k-kafka-bootstrap.data.svc:9092,l:9092")
RETRY = {"attempts": 4, "backoff": "linear", "delay": "250ms"}


def one(resources: Sequence[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The one resource of that kind and name."""
    (found,) = [each for each in resources if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def passes(filters: list[dict[str, Any]], event: dict[str, str]) -> bool:
    """Whether an event passes a Trigger's filters (Subscriptions API): all of them must say yes."""
    return all(says(dialect, event, rule) for each in filters for dialect, rule in each.items())


def says(dialect: str, event: dict[str, str], rule: Any) -> bool:
    """What one filter says of an event."""
    if dialect == "not":
        return not passes([rule], event)
    if dialect == "exact":
        return all(event.get(name) == value for name, value in rule.items())
    assert dialect == "prefix"
    return all(event.get(name, "").startswith(value) for name, value in rule.items())


def test_a_source_brings_the_topic_to_the_model(app_of: MakeApp) -> None:
    """From the earliest event on, under the app's group, to the one path that any model server of KServe has."""
    spec = {
        "trigger": {"topic": "words", "delivery": "knative-source", "partitions": 6, "ordering": "key", "retry": RETRY}
    }
    source = one(render(app_of(spec=spec), OPTIONS), "KafkaSource", "echo")["spec"]
    assert source["bootstrapServers"] == ["k-kafka-bootstrap.data.svc:9092", "l:9092"]
    assert (source["topics"], source["consumerGroup"], source["consumers"]) == (["words"], "headrace.default.echo", 6)
    assert (source["initialOffset"], source["ordering"]) == ("earliest", "ordered")
    assert source["sink"]["ref"]["kind"] == "InferenceService"
    assert (source["sink"]["ref"]["name"], source["sink"]["uri"]) == ("echo", "/v1/models/echo:predict")


def test_delivery_means_to_knative_what_it_means_to_headrace(app_of: MakeApp) -> None:
    """Attempts are one more than repetitions, waits are ISO 8601 in tenths rounded up, dead letters have their sink."""
    spec = {"trigger": {"delivery": "knative-source", "retry": RETRY, "timeout": "1m", "coldStart": "2m"}}
    resources = render(app_of(spec=spec), OPTIONS)
    delivery = one(resources, "KafkaSource", "echo")["spec"]["delivery"]
    assert (delivery["retry"], delivery["backoffPolicy"], delivery["backoffDelay"]) == (3, "linear", "PT0.3S")
    assert delivery["timeout"] == "PT180S"
    sink = one(resources, "KafkaSink", delivery["deadLetterSink"]["ref"]["name"])["spec"]
    assert (sink["topic"], sink["contentMode"]) == ("words.dead-letters", "binary")


@pytest.mark.parametrize("delivery", ["knative-source", "knative-broker"])
def test_headraces_dispatcher_stays_away(app_of: MakeApp, delivery: str) -> None:
    """Two deliverers would answer every event twice."""
    kinds = {each["kind"] for each in render(app_of(spec={"trigger": {"delivery": delivery}}))}
    assert not kinds & {"Deployment", "ScaledObject"}
    assert not {each["kind"] for each in render(app_of())} & {"KafkaSource", "Broker", "Trigger", "KafkaSink"}


def test_a_broker_stands_on_the_topic_that_is_there(app_of: MakeApp) -> None:
    """Producers write to Kafka as before; the Broker's own topic would be another one."""
    resources = render(app_of(spec={"trigger": {"delivery": "knative-broker", "ordering": "partition"}}), OPTIONS)
    broker = one(resources, "Broker", "echo")
    assert broker["metadata"]["annotations"] == {
        "eventing.knative.dev/broker.class": "Kafka", "kafka.eventing.knative.dev/external.topic": "words",
    }  # fmt: skip
    config = one(resources, "ConfigMap", broker["spec"]["config"]["name"])["data"]
    assert config["bootstrap.servers"] == OPTIONS.kafka
    trigger = one(resources, "Trigger", "echo")
    assert trigger["metadata"]["annotations"]["kafka.eventing.knative.dev/delivery.order"] == "ordered"
    assert trigger["spec"]["subscriber"]["uri"] == "/v1/models/echo:predict"
    assert trigger["spec"]["delivery"]["deadLetterSink"]["ref"]["name"] == "echo-dead-letters"


def test_no_answer_goes_round(app_of: MakeApp) -> None:
    """An answer comes back through the broker: it reaches the results, its own app's alone, and never a model."""
    spec = {"trigger": {"delivery": "knative-broker"}, "results": {"topic": "answers"}}
    resources = render(app_of(metadata={"namespace": "lab"}, spec=spec), OPTIONS)
    asked, answered = (one(resources, "Trigger", name)["spec"] for name in ("echo", "echo-results"))
    for kind in ("com.example.word", "dev.headrace.inferences", "x"):
        event = {"type": kind, "source": "/headrace/lab/echo"}
        assert passes(asked["filters"], event)
        assert not passes(answered["filters"], event)
    for kind in (RESULT_TYPE, ERROR_TYPE):
        own, other = ({"type": kind, "source": f"/headrace/lab/{name}"} for name in ("echo", "other"))
        assert not passes(asked["filters"], own)
        assert not passes(asked["filters"], other)
        assert passes(answered["filters"], own)
        assert not passes(answered["filters"], other)
    sink = one(resources, "KafkaSink", answered["subscriber"]["ref"]["name"])
    assert sink["spec"]["topic"] == "answers"
    assert "uri" not in answered["subscriber"]


def test_a_trigger_has_the_apps_filters(app_of: MakeApp) -> None:
    """Knative filters in its own data plane: the app's filters stand beside the one that holds answers back."""
    wanted = [{"exact": {"type": "a"}}, {"any": [{"prefix": {"subject": "b"}}, {"not": {"cesql": "c = 'd'"}}]}]
    spec = {"trigger": {"delivery": "knative-broker", "filter": "EXISTS subject", "filters": wanted}}
    filters = one(render(app_of(spec=spec), OPTIONS), "Trigger", "echo")["spec"]["filters"]
    assert filters[1:] == [{"cesql": "EXISTS subject"}, *wanted]
    assert "not" in filters[0]


def test_answers_that_nobody_wants_have_no_sink(app_of: MakeApp) -> None:
    """Without `results` there is one trigger and the dead letters' sink."""
    found = [each["kind"] for each in render(app_of(spec={"trigger": {"delivery": "knative-broker"}}))]
    assert (found.count("Trigger"), found.count("KafkaSink")) == (1, 1)


def test_what_knative_cannot_do_is_refused(app_of: MakeApp) -> None:
    """A source has no answers to keep, and a Trigger's group has Knative's name."""
    with pytest.raises(ValidationError, match="KafkaSource throws answers away; remove results"):
        app_of(spec={"trigger": {"delivery": "knative-source"}, "results": {"topic": "x"}})
    with pytest.raises(ValidationError, match="a KafkaSource has no filters"):
        app_of(spec={"trigger": {"delivery": "knative-source", "filters": [{"exact": {"type": "a"}}]}})
    with pytest.raises(ValidationError, match="remove group"):
        app_of(spec={"trigger": {"delivery": "knative-broker", "group": "g"}})


def test_a_chain_through_a_broker_is_refused(document: Callable[..., dict[str, Any]]) -> None:
    """The broker holds answers back, so that an app behind another would be silent for ever."""
    writer = document(metadata={"name": "first"}, spec={"results": {"topic": "middle"}})
    reader = document(metadata={"name": "second"}, spec={"trigger": {"topic": "middle", "delivery": "knative-broker"}})
    for apps in ([writer, reader], [reader, writer]):
        with pytest.raises(ConfigurationError) as caught:
            parse_apps(to_yaml(apps), "f")
        assert "app second reads app first's answers, which a broker holds back" in caught.value.problems[0]
    reader["spec"]["trigger"]["delivery"] = "knative-source"
    assert len(parse_apps(to_yaml([writer, reader]), "f")) == 2
