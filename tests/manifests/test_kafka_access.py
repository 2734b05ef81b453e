"""How dispatcher, Knative and KEDA prove to Kafka who they are, and what the app's user may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from headrace.manifests.options import RenderOptions
from headrace.manifests.rendering import render

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]


def one(resources: Sequence[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The one resource of that kind."""
    (found,) = [each for each in resources if each["kind"] == kind]
    return found


def secure(app_of: MakeApp, delivery: str = "headrace", **access: Any) -> InferenceApp:
    """An app of a Kafka that asks who calls; with results where the delivery can have them."""
    results = {} if delivery == "knative-source" else {"results": {"topic": "answers"}}
    spec = {"kafka": {"secret": "kafka", **access}, "trigger": {"delivery": delivery}, **results}
    return app_of(metadata={"namespace": "lab"}, spec=spec)


def may(app: InferenceApp) -> set[tuple[str, str, str, str]]:
    """What the app's KafkaUser may do: kind, name, how the name is meant, operation."""
    rights = one(render(app), "KafkaUser")["spec"]["authorization"]["acls"]
    return {
        (right["resource"]["type"], right["resource"]["name"], right["resource"]["patternType"], operation)
        for right in rights
        for operation in right["operations"]
    }


def test_the_dispatcher_takes_settings_from_the_secret(app_of: MakeApp) -> None:
    """By reference and under Knative's keys; what not every way of authentication has is optional."""
    pod = one(render(secure(app_of)), "Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    found = {
        each["name"]: each["valueFrom"]["secretKeyRef"]
        for each in container["env"]
        if "secretKeyRef" in each.get("valueFrom", {})
    }
    assert {name: reference["key"] for name, reference in found.items()} == {
        "KAFKA_SECURITY_PROTOCOL": "protocol", "KAFKA_SASL_MECHANISM": "sasl.mechanism",
        "KAFKA_SASL_USERNAME": "user", "KAFKA_SASL_PASSWORD": "password",
    }  # fmt: skip
    assert {reference["name"] for reference in found.values()} == {"kafka"}
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "kafka"]
    assert (mount["mountPath"], mount["readOnly"]) == ("/etc/headrace-kafka", True)
    (volume,) = [each["secret"] for each in pod["volumes"] if each["name"] == "kafka"]
    assert [each["key"] for each in volume["items"]] == ["ca.crt", "user.crt", "user.key"]


def test_without_it_nothing_is_asked(app_of: MakeApp) -> None:
    """The default rendering knows no secret."""
    text = str(render(app_of()))
    assert not [word for word in ("secretKeyRef", "secretName", "authenticationRef", "KAFKA_S") if word in text]


@pytest.mark.parametrize(
    ("authentication", "encryption", "metadata", "parameters"),
    [
        ("scram-sha-512", True, {"sasl": "scram_sha512", "tls": "enable"}, {"username", "password", "ca"}),
        ("scram-sha-256", False, {"sasl": "scram_sha256", "tls": "disable"}, {"username", "password"}),
        ("plain", True, {"sasl": "plaintext", "tls": "enable"}, {"username", "password", "ca"}),
        ("tls", True, {"tls": "enable"}, {"ca", "cert", "key"}),
        ("none", False, {"tls": "disable"}, set()),
    ],
)
def test_keda_reads_the_lag_as_the_same_user(
    app_of: MakeApp,
    authentication: str,
    encryption: bool,
    metadata: dict[str, str],
    parameters: set[str],
) -> None:
    """KEDA has names of its own for mechanisms; the values stay in the Secret."""
    resources = render(secure(app_of, authentication=authentication, encryption=encryption))
    (trigger,) = one(resources, "ScaledObject")["spec"]["triggers"]
    assert {key: trigger["metadata"].get(key) for key in ("sasl", "tls") if key in trigger["metadata"]} == metadata
    found = [each for each in resources if each["kind"] == "TriggerAuthentication"]
    assert ("authenticationRef" in trigger) == bool(parameters) == bool(found)
    for each in found:
        assert each["metadata"]["name"] == trigger["authenticationRef"]["name"]
        assert {reference["parameter"] for reference in each["spec"]["secretTargetRef"]} == parameters


def test_knative_uses_the_same_secret(app_of: MakeApp) -> None:
    """A source by references, sinks and broker by the secret's name."""
    resources = render(secure(app_of, "knative-source", authentication="tls"))
    net = one(resources, "KafkaSource")["spec"]["net"]
    assert net.keys() == {"tls"}
    assert {key: net["tls"][key]["secretKeyRef"]["key"] for key in ("cert", "key", "caCert")} == {
        "cert": "user.crt", "key": "user.key", "caCert": "ca.crt",
    }  # fmt: skip
    assert one(resources, "KafkaSink")["spec"]["auth"] == {"secret": {"ref": {"name": "kafka"}}}
    broker = render(secure(app_of, "knative-broker"))
    (config,) = [each["data"] for each in broker if each["metadata"]["name"] == "echo-broker"]
    assert config["auth.secret.ref.name"] == "kafka"
    net = one(render(secure(app_of, "knative-source")), "KafkaSource")["spec"]["net"]
    assert {net["sasl"][key]["secretKeyRef"]["key"] for key in ("user", "password", "type")} == {
        "user", "password", "sasl.mechanism",
    }  # fmt: skip


def test_the_dispatchers_user_may_do_what_it_does_and_no_more(app_of: MakeApp) -> None:
    """Read its topic, commit its group, write answers and dead letters in transactions of its own."""
    group = "headrace.lab.echo"
    assert may(secure(app_of, user=True)) == {
        ("topic", "words", "literal", "Read"), ("topic", "words", "literal", "Describe"),
        ("group", group, "literal", "Read"), ("group", group, "literal", "Describe"),
        ("topic", "answers", "literal", "Write"), ("topic", "answers", "literal", "Describe"),
        ("topic", "words.dead-letters", "literal", "Write"), ("topic", "words.dead-letters", "literal", "Describe"),
        ("transactionalId", f"{group}.", "prefix", "Write"), ("transactionalId", f"{group}.", "prefix", "Describe"),
    }  # fmt: skip


def test_only_a_brokers_user_writes_to_its_own_topic(app_of: MakeApp) -> None:
    """Answers pass through a broker's topic; nobody else could make a loop."""
    write = ("topic", "words", "literal", "Write")
    assert write in may(secure(app_of, "knative-broker", user=True))
    assert write not in may(secure(app_of, "knative-source", user=True))
    groups = {name for kind, name, _, _ in may(secure(app_of, "knative-broker", user=True)) if kind == "group"}
    assert groups == {"knative-trigger-lab-echo"}


def test_a_user_is_made_where_its_operator_looks(app_of: MakeApp) -> None:
    """Beside Kafka, with the cluster's label, under a name that no other app has; not without Strimzi."""
    user = one(render(secure(app_of, authentication="tls", user=True)), "KafkaUser")
    assert (user["metadata"]["name"], user["metadata"]["namespace"]) == ("lab.echo", "kafka")
    assert user["metadata"]["labels"]["strimzi.io/cluster"] == "kafka"
    assert user["spec"]["authentication"] == {"type": "tls"}
    for app, options in [(secure(app_of), RenderOptions()), (secure(app_of, user=True), RenderOptions(strimzi=None))]:
        assert "KafkaUser" not in {each["kind"] for each in render(app, options)}


@pytest.mark.parametrize(
    ("access", "reason"),
    [
        ({"authentication": "tls", "encryption": False}, "needs encryption"),
        ({"authentication": "plain", "user": True}, "scram-sha-512 and tls alone"),
        ({"authentication": "kerberos"}, "scram-sha-512"),
        ({"secret": "A B"}, "a resource's name"),
        ({"password": "x"}, "Extra inputs"),
    ],
)
def test_what_cannot_be_is_refused(app_of: MakeApp, access: dict[str, Any], reason: str) -> None:
    """With the reason; and a password has no place in the file."""
    with pytest.raises(ValidationError, match=reason):
        secure(app_of, **access)
