"""How the app proves to Kafka who it is: Strimzi's ``KafkaUser`` with the least rights, and references to the Secret.

The Secret has Knative's keys (protocol, sasl.mechanism, user, password, ca.crt, user.crt, user.key), so that one does
for the dispatcher, for Knative's sources and sinks, and for KEDA. Its values are never read here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.manifests.resource import Resource, metadata, resource

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.parts.kafka import KafkaAccess
    from headrace.manifests.spec import InferenceApp

FOLDER = "/etc/headrace-kafka"
_VARIABLES = {
    "KAFKA_SECURITY_PROTOCOL": "protocol",
    "KAFKA_SASL_MECHANISM": "sasl.mechanism",
    "KAFKA_SASL_USERNAME": "user",
    "KAFKA_SASL_PASSWORD": "password",
}
_FILES = ("ca.crt", "user.crt", "user.key")
_KEDA = {"scram-sha-512": "scram_sha512", "scram-sha-256": "scram_sha256", "plain": "plaintext"}
_PASSWORDS = tuple(_KEDA)


@dataclass(frozen=True, slots=True)
class Client:
    """What a Kafka client's container and pod need."""

    env: tuple[Resource, ...] = ()
    mounts: tuple[Resource, ...] = ()
    volumes: tuple[Resource, ...] = ()


def kafka_client(app: InferenceApp) -> Client:
    """The settings of a client in a pod of the app: variables from the Secret, and its certificates as files."""
    access = app.spec.kafka
    if access is None:
        return Client()
    env = [_variable(access, name, key) for name, key in _VARIABLES.items()]
    env.append({"name": "KAFKA_SSL_FOLDER", "value": FOLDER})
    secret = {"secretName": access.secret, "items": [{"key": key, "path": key} for key in _FILES], "optional": True}
    return Client(
        env=tuple(env),
        mounts=({"name": "kafka", "mountPath": FOLDER, "readOnly": True},),
        volumes=({"name": "kafka", "secret": secret},),
    )


def kafka_user(app: InferenceApp, options: RenderOptions) -> list[Resource]:
    """The KafkaUser, where the spec asks for one and Strimzi is there."""
    access = app.spec.kafka
    if access is None or not access.user or options.strimzi is None:
        return []
    # Namespaces hold no dot, so no two apps have one name.
    about = metadata(app, f"{app.namespace}.{app.name}", "kafka-user", namespace=options.strimzi.namespace)
    about["labels"]["strimzi.io/cluster"] = options.strimzi.cluster
    spec = {
        "authentication": {"type": access.authentication},
        "authorization": {"type": "simple", "acls": _rights(app)},
    }
    return [resource("kafka.strimzi.io/v1", "KafkaUser", about, spec=spec)]


def keda_authentication(app: InferenceApp, options: RenderOptions) -> list[Resource]:  # noqa: ARG001  # a concern's signature
    """KEDA's TriggerAuthentication for reading the lag, where Headrace's dispatcher is scaled by it."""
    access = app.spec.kafka
    if access is None or app.spec.trigger.delivery != "headrace":
        return []
    wanted: list[tuple[str, str]] = []
    if access.authentication in _PASSWORDS:
        wanted += [("username", "user"), ("password", "password")]
    if access.encryption:
        wanted.append(("ca", "ca.crt"))
    if access.authentication == "tls":
        wanted += [("cert", "user.crt"), ("key", "user.key")]
    if not wanted:
        return []
    references = [{"parameter": parameter, "name": access.secret, "key": key} for parameter, key in wanted]
    about = metadata(app, keda_name(app), "dispatcher")
    return [resource("keda.sh/v1alpha1", "TriggerAuthentication", about, spec={"secretTargetRef": references})]


def keda_name(app: InferenceApp) -> str:
    """The name of the app's TriggerAuthentication."""
    return f"{app.name}-kafka"


def keda_settings(app: InferenceApp) -> dict[str, str]:
    """What a KEDA Kafka trigger says of the connection, beside the secrets."""
    if app.spec.kafka is None:
        return {}
    sasl = _KEDA.get(app.spec.kafka.authentication)
    return {**({"sasl": sasl} if sasl else {}), "tls": "enable" if app.spec.kafka.encryption else "disable"}


def source_settings(access: KafkaAccess) -> Resource:
    """The ``net`` of a KafkaSource."""
    net: Resource = {}
    if access.authentication in _PASSWORDS:
        net["sasl"] = {
            "enable": True,
            "user": _reference(access, "user"),
            "password": _reference(access, "password"),
            "type": _reference(access, "sasl.mechanism"),
        }
    if access.encryption:
        net["tls"] = {"enable": True, "caCert": _reference(access, "ca.crt")}
        if access.authentication == "tls":
            net["tls"] |= {"cert": _reference(access, "user.crt"), "key": _reference(access, "user.key")}
    return net


def _reference(access: KafkaAccess, key: str) -> Resource:
    return {"secretKeyRef": {"name": access.secret, "key": key}}


def _variable(access: KafkaAccess, name: str, key: str) -> Resource:
    reference: dict[str, Any] = {"name": access.secret, "key": key}
    if key != "protocol":
        reference["optional"] = True
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}


def _rights(app: InferenceApp) -> list[Resource]:
    """Reading events and committing, writing answers and dead letters, and nothing else."""
    trigger = app.spec.trigger
    # A Broker's answers go through its own topic.
    through = ("Write",) if trigger.delivery == "knative-broker" else ()
    rights = [_right("topic", trigger.topic, "Read", *through, "Describe"), _group(app)]
    written = (app.result_topic, trigger.dead_letter_topic, app.spec.usage.topic if app.spec.usage else None)
    rights += [_right("topic", topic, "Write", "Describe") for topic in written if topic]
    if trigger.delivery == "headrace":
        # One transactional id a member: GROUP.POD.
        rights.append(_right("transactionalId", f"{app.consumer_group}.", "Write", "Describe", pattern="prefix"))
    return rights


def _group(app: InferenceApp) -> Resource:
    if app.spec.trigger.delivery == "knative-broker":
        # Knative's template for the group of a Trigger: this app's triggers are NAME and NAME-results.
        return _right("group", f"knative-trigger-{app.namespace}-{app.name}", "Read", "Describe", pattern="prefix")
    return _right("group", app.consumer_group, "Read", "Describe")


def _right(kind: str, name: str, *operations: str, pattern: str = "literal") -> Resource:
    return {"resource": {"type": kind, "name": name, "patternType": pattern}, "operations": list(operations)}
