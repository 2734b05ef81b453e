"""Rules of Kafka sources, brokers and sinks, and of events that come back to where they started."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from headrace.manifests.faults import nearest
from headrace.manifests.lint.finding import Hit, Joint, Rule
from headrace.manifests.lint.manifest import Manifest, items, mapping, sequence, text, whole
from headrace.manifests.lint.pods import pods
from headrace.manifests.lint.rules.delivery import filters

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.manifests.document import Path

_SOURCE_VALUES = {"ordering": ("ordered", "unordered"), "initialOffset": ("earliest", "latest")}
_KEY_TYPE = "kafkasources.sources.knative.dev/key-type"
_KEY_TYPES = ("string", "int", "float", "byte-array")
_CLASSES = ("Kafka", "KafkaNamespaced", "MTChannelBasedBroker", "RabbitMQBroker")
_ADDRESS = re.compile(r"[A-Za-z0-9._-]+:[0-9]{1,5}\Z")
_ANSWER_TYPES = {"io.kserve.inference.response", "dev.headrace.inference.result.v1"}
"""What KServe's server and Headrace's call their answers, unless told otherwise."""


def _source(manifest: Manifest) -> Iterator[Hit]:
    if manifest.kind != "KafkaSource":
        return
    for name, choices in _SOURCE_VALUES.items():
        value = manifest.spec.get(name)
        if isinstance(value, str) and value not in choices:
            near = nearest(value, choices)
            yield Hit(("spec", name), f"is none of {', '.join(choices)}", f"did you mean {near}?" if near else "")
    if "topics" in manifest.spec and not manifest.spec["topics"]:
        yield Hit(("spec", "topics"), "there is no topic", "name one")
    key_type = manifest.labels.get(_KEY_TYPE)
    if key_type is not None and key_type not in _KEY_TYPES:
        yield Hit(("metadata", "labels", _KEY_TYPE), f"is none of {', '.join(_KEY_TYPES)}")


def _servers(manifest: Manifest) -> Iterator[Hit]:
    if manifest.group in ("sources.knative.dev", "eventing.knative.dev", "bindings.knative.dev"):
        for index, each in enumerate(sequence(manifest.spec.get("bootstrapServers"))):
            if isinstance(each, str) and not all(_ADDRESS.match(one.strip()) for one in each.split(",")):
                yield Hit(("spec", "bootstrapServers", index), f"{each!r} is no HOST:PORT")


def _destinations(manifest: Manifest) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in (("spec", "sink"), ("spec", "subscriber"), ("spec", "delivery", "deadLetterSink"), ("spec", "reply")):
        value = manifest.at(path)
        if isinstance(value, dict) and manifest.group.endswith("knative.dev"):
            yield path, value


def _destination(manifest: Manifest) -> Iterator[Hit]:
    for path, value in _destinations(manifest):
        uri = text(value.get("uri"))
        if not value.get("ref") and not uri:
            yield Hit(path, "there is neither ref nor uri", "write one of them")
        if value.get("ref") and "://" in uri:
            yield Hit((*path, "uri"), "beside a ref a uri is a path", "write only the path, or remove ref")
        if uri and not value.get("ref") and not re.match(r"https?://[^/]+", uri):
            yield Hit((*path, "uri"), f"{uri!r} is no address", "write http://HOST/PATH")


def _broker_class(manifest: Manifest) -> Iterator[Hit]:
    key = "eventing.knative.dev/broker.class"
    value = manifest.annotations.get(key)
    if (
        manifest.kind == "Broker"
        and isinstance(value, str)
        and value not in _CLASSES
        and (near := nearest(value, _CLASSES))
    ):
        why = f"no controller answers to the class {value!r}: the Broker never becomes ready"
        yield Hit(("metadata", "annotations", key), why, f"did you mean {near}?")


def _is_headrace(manifest: Manifest) -> bool:
    return manifest.labels.get("app.kubernetes.io/part-of") == "headrace"


def _no_path(manifest: Manifest) -> Iterator[Hit]:
    """KServe's own server takes no event at ``/``; Headrace's does."""
    for path, value in _destinations(manifest):
        ref = mapping(value.get("ref"))
        if ref.get("kind") == "InferenceService" and not value.get("uri") and not _is_headrace(manifest):
            why = "KServe's server answers 405 at /, which is where an InferenceService without a path is called"
            yield Hit(path, why, f"write uri: /v1/models/{ref.get('name', 'NAME')}:predict")


def _answers_dropped(manifest: Manifest) -> Iterator[Hit]:
    ref = mapping(mapping(manifest.spec.get("sink")).get("ref"))
    if manifest.kind == "KafkaSource" and ref.get("kind") == "InferenceService" and not _is_headrace(manifest):
        yield Hit(("spec", "sink", "ref"), "a KafkaSource drops what its sink answers: the predictions are lost")


def _loops(manifests: Sequence[Manifest]) -> Iterator[tuple[Manifest, Hit]]:
    answers = {each.name: _answer_types(each) for each in manifests if each.kind == "InferenceService"}
    for each in manifests:
        if not each.is_a("eventing.knative.dev", "Trigger"):
            continue
        ref = mapping(mapping(each.spec.get("subscriber")).get("ref"))
        if ref.get("kind") not in ("InferenceService", "Service"):
            continue
        name = text(ref.get("name"))
        if ref["kind"] == "InferenceService" and not _filtered(each):
            why = f"there is no filter: the answers of {name or 'the subscriber'} come back to it without end"
            yield each, Hit(("spec", "subscriber"), why, "filter on the type of what shall be answered")
        for path, kind in _types_wanted(each):
            if kind in answers.get(name, _ANSWER_TYPES):
                why = f"{kind} is what the subscriber answers: its answers come back to it without end"
                yield each, Hit(path, why, "filter on the type of what shall be answered")


def _answer_types(service: Manifest) -> set[str]:
    """The types of an InferenceService's answers: by CE_TYPE where it is set, the servers' own where not."""
    found = {
        text(env.get("value"))
        for pod in pods(service)
        for _, container in pod.containers()
        for _, env in items(container, ("env",))
        if env.get("name") == "CE_TYPE"
    }
    return found or _ANSWER_TYPES


def _filtered(trigger: Manifest) -> bool:
    return bool(sequence(trigger.spec.get("filters")) or mapping(trigger.at(("spec", "filter", "attributes"))))


def _types_wanted(trigger: Manifest) -> Iterator[tuple[Path, str]]:
    """Where the Trigger asks for one type exactly."""
    simple = mapping(trigger.at(("spec", "filter", "attributes")))
    if "type" in simple and not sequence(trigger.spec.get("filters")):
        yield ("spec", "filter", "attributes", "type"), text(simple["type"])
    for path, each in filters(trigger):
        exact = mapping(each.get("exact"))
        if "type" in exact and "not" not in path:
            yield (*path, "exact", "type"), text(exact["type"])


def _unknown_broker(manifests: Sequence[Manifest]) -> Iterator[tuple[Manifest, Hit]]:
    """A Trigger whose broker is nearly, but not, one of those given."""
    brokers = {(each.namespace, each.name) for each in manifests if each.kind == "Broker"}
    for each in manifests:
        name = text(each.spec.get("broker"))
        beside = {known for space, known in brokers if space == each.namespace}
        if each.kind == "Trigger" and name and name not in beside and (near := nearest(name, beside)):
            yield each, Hit(("spec", "broker"), f"no Broker {name!r} is among the manifests", f"did you mean {near}?")


def _sink_partitions(manifest: Manifest) -> Iterator[Hit]:
    if manifest.kind == "KafkaSink":
        for name in ("numPartitions", "replicationFactor"):
            count = whole(manifest.spec.get(name))
            if count is not None and count < 1:
                yield Hit(("spec", name), f"{count} cannot be", "write 1 or more")


RULES = (
    Rule(
        "source/value",
        "error",
        "A KafkaSource's ordering is ordered or unordered, initialOffset earliest or latest, and it names a topic.",
        "Write one of its values.",
        _source,
    ),
    Rule(
        "source/bootstrap-servers",
        "error",
        "Bootstrap servers are HOST:PORT: nothing checks them before the data plane fails to connect.",
        "Write HOST:PORT.",
        _servers,
    ),
    Rule(
        "eventing/destination",
        "error",
        "A sink or subscriber is a ref, a ref with a path, or an absolute address.",
        "Write ref or uri.",
        _destination,
    ),
    Rule(
        "eventing/broker-class",
        "error",
        "A Broker's class is one that a controller answers to.",
        "Write Kafka or MTChannelBasedBroker.",
        _broker_class,
    ),
    Rule(
        "eventing/inference-path",
        "warning",
        "An InferenceService that is sent events is called at a path that its server has: KServe's has none at /.",
        "Write uri: /v1/models/NAME:predict.",
        _no_path,
    ),
    Rule(
        "eventing/answers-dropped",
        "warning",
        "Answers that matter do not go through a KafkaSource, which drops them.",
        "Use a Broker and a Trigger, or Headrace's dispatcher.",
        _answers_dropped,
    ),
    Rule(
        "eventing/sink-size",
        "error",
        "A KafkaSink's topic has partitions and replicas.",
        "Write 1 or more.",
        _sink_partitions,
    ),
    Joint(
        "eventing/reply-loop",
        "error",
        "A Trigger does not match the answers of its own subscriber: the broker hands them back to it.",
        "Filter on the type of what shall be answered.",
        _loops,
    ),
    Joint(
        "eventing/broker-name",
        "error",
        "A Trigger's broker is spelt as the Broker beside it.",
        "Write the Broker's name.",
        _unknown_broker,
    ),
)
