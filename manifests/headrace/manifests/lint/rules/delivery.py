"""Rules of Knative Eventing's delivery and filters: accepted as written, and then not done."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from headrace.manifests.faults import nearest
from headrace.manifests.lint.durations import iso_of, iso_seconds
from headrace.manifests.lint.finding import Hit, Rule, shown
from headrace.manifests.lint.manifest import Manifest, items, mapping, sequence, text, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.manifests.document import Path

_EVENTING = ("eventing.knative.dev", "messaging.knative.dev", "flows.knative.dev", "sources.knative.dev")
_FIELDS = (
    "deadLetterSink",
    "retry",
    "backoffPolicy",
    "backoffDelay",
    "timeout",
    "retryAfterMax",
    "format",
    "backoffMax",
)
_POLICIES = ("linear", "exponential")
_DIALECTS = ("exact", "prefix", "suffix", "all", "any", "not", "cesql")
_BY_ATTRIBUTE = ("exact", "prefix", "suffix")
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,20}\Z")
_TRIGGER = ("broker", "brokerRef", "filter", "filters", "subscriber", "delivery")


def _deliveries(manifest: Manifest) -> Iterator[tuple[Path, dict[str, Any]]]:
    if manifest.group not in _EVENTING:
        return
    if isinstance(manifest.spec.get("delivery"), dict):
        yield ("spec", "delivery"), manifest.spec["delivery"]
    for key in ("steps", "branches"):
        for path, each in items(manifest.spec, (key,)):
            if isinstance(each.get("delivery"), dict):
                yield ("spec", *path, "delivery"), each["delivery"]


def _fields(manifest: Manifest) -> Iterator[Hit]:
    for path, delivery in _deliveries(manifest):
        for name in delivery:
            if name not in _FIELDS:
                near = nearest(name, _FIELDS)
                remedy = f"did you mean {near}?" if near else f"known are {', '.join(_FIELDS)}"
                yield Hit((*path, name), f"there is no field {name!r} in a delivery", remedy)


def _policy(manifest: Manifest) -> Iterator[Hit]:
    for path, delivery in _deliveries(manifest):
        value = delivery.get("backoffPolicy")
        if isinstance(value, str) and value not in _POLICIES:
            near = nearest(value, _POLICIES) or next((p for p in _POLICIES if p.startswith(value[:3].lower())), "")
            remedy = f"did you mean {near}?" if near else "write linear or exponential"
            yield Hit(
                (*path, "backoffPolicy"),
                "Knative's source webhook takes any word, and then does not back off so",
                remedy,
            )


def _durations(manifest: Manifest) -> Iterator[Hit]:
    for path, delivery in _deliveries(manifest):
        for name in ("backoffDelay", "timeout", "retryAfterMax", "backoffMax"):
            if name in delivery and iso_seconds(delivery[name]) is None:
                wanted = iso_of(delivery[name])
                why = f"{shown(delivery[name])} is no ISO 8601 duration"
                yield Hit((*path, name), why, f"write {wanted or 'PT5S for five seconds'}")


def _retry(manifest: Manifest) -> Iterator[Hit]:
    for path, delivery in _deliveries(manifest):
        retry = whole(delivery.get("retry"))
        if retry is not None and retry < 0:
            yield Hit((*path, "retry"), f"{retry} retries cannot be", "write 0 or more")


def _lost(manifest: Manifest) -> Iterator[Hit]:
    for path, delivery in _deliveries(manifest):
        if "retry" in delivery and "deadLetterSink" not in delivery:
            why = "after the last retry the event is committed and gone: there is no dead-letter sink"
            yield Hit((*path, "retry"), why)


def _never_retried(manifest: Manifest) -> Iterator[Hit]:
    for path, delivery in _deliveries(manifest):
        if "deadLetterSink" in delivery and not delivery.get("retry"):
            why = "without retry the first failure, a cold start too, makes a dead letter"
            yield Hit((*path, "deadLetterSink"), why)


def _ignored(manifest: Manifest) -> Iterator[Hit]:
    kafka = manifest.kind == "KafkaSource" or manifest.annotations.get("kafka.eventing.knative.dev/delivery.order")
    for path, delivery in _deliveries(manifest) if kafka else ():
        for name in ("retryAfterMax", "format", "backoffMax"):
            if name in delivery:
                yield Hit((*path, name), f"Kafka's data plane (1.23) does not read {name}: it has no effect")


def _trigger(manifest: Manifest) -> Iterator[Hit]:
    if not manifest.is_a("eventing.knative.dev", "Trigger"):
        return
    for name in manifest.spec:
        if name not in _TRIGGER:
            near = nearest(name, _TRIGGER)
            yield Hit(
                ("spec", name), f"a Trigger has no field {name!r}", f"did you mean {near}?" if near else "remove it"
            )
    named = [name for name in ("broker", "brokerRef") if manifest.spec.get(name)]
    if not named and not any(nearest(name, ("broker",)) for name in manifest.spec):
        yield Hit(("spec",), "the Trigger names no broker", "write broker: NAME")
    if "subscriber" not in manifest.spec and not any(nearest(name, ("subscriber",)) for name in manifest.spec):
        yield Hit(("spec",), "the Trigger has no subscriber", "write subscriber.ref or subscriber.uri")


def filters(manifest: Manifest) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every filter of a Trigger, those inside others as well."""
    if not manifest.is_a("eventing.knative.dev", "Trigger"):
        return
    waiting = [(("spec", *path), each) for path, each in items(manifest.spec, ("filters",))]
    while waiting:
        path, each = waiting.pop(0)
        yield path, each
        for name in ("all", "any"):
            waiting += [((*path, *inner), one) for inner, one in items(each, (name,))]
        if isinstance(each.get("not"), dict):
            waiting.append(((*path, "not"), each["not"]))


def _dialect(manifest: Manifest) -> Iterator[Hit]:
    for path, each in filters(manifest):
        for name in each:
            if name not in _DIALECTS:
                near = nearest(name, _DIALECTS)
                remedy = f"did you mean {near}?" if near else f"write one of {', '.join(_DIALECTS)}"
                yield Hit((*path, name), f"there is no filter {name!r}: it would let everything through", remedy)
        if len(each) != 1:
            yield Hit(path, f"a filter has one dialect, this one has {len(each)}", "write a list entry a dialect")


def _attributes(manifest: Manifest) -> Iterator[Hit]:
    for path, names in _by_attribute(manifest):
        for name, value in names.items():
            if not _ATTRIBUTE.match(str(name)):
                why = f"{name!r} is no attribute's name: lower-case letters and digits, 20 at most"
                yield Hit((*path, name), why, f"did you mean {re.sub('[^a-z0-9]', '', str(name).lower())[:20]}?")
            if value == "" and path[-2:] == ("filter", "attributes"):
                yield Hit((*path, name), "an empty value is ignored: every event fits", "write the value, or remove it")


def _by_attribute(manifest: Manifest) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path, each in filters(manifest):
        for name in _BY_ATTRIBUTE:
            if isinstance(each.get(name), dict):
                yield (*path, name), each[name]
    if manifest.is_a("eventing.knative.dev", "Trigger"):
        yield ("spec", "filter", "attributes"), mapping(manifest.at(("spec", "filter", "attributes")))


def _both(manifest: Manifest) -> Iterator[Hit]:
    if manifest.kind == "Trigger" and sequence(manifest.spec.get("filters")) and manifest.spec.get("filter"):
        yield Hit(("spec", "filter"), "filters stand beside it and win: filter has no effect")


def _cesql(manifest: Manifest) -> Iterator[Hit]:
    for path, each in filters(manifest):
        if "cesql" in each and (why := cesql_fault(text(each["cesql"]))):
            yield Hit((*path, "cesql"), why, "see the CloudEvents SQL expression language")


_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


def cesql_fault(expression: str) -> str:
    """What is plainly wrong with a CESQL expression: quotes, brackets, operators of other languages."""
    if not expression.strip():
        return "the expression is empty"
    rest = _STRING.sub("''", expression)
    if "'" in rest.replace("''", "") or '"' in rest:
        return "a quote is not closed"
    depth = 0
    for character in rest:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            break
    if depth:
        return "brackets do not match"
    for wrong, right in (("==", "="), ("&&", "AND"), ("||", "OR")):
        if wrong in rest:
            return f"CESQL has no {wrong}; it is {right}"
    if re.search(r"(=|<|>|AND|OR|LIKE|IN|NOT|\+|-|\*|/|%)\s*\Z", rest):
        return "something is missing at the end"
    return ""


RULES = (
    Rule(
        "delivery/field",
        "error",
        "A delivery has only fields that exist: a Trigger's schema keeps any other, and nothing reads it.",
        "Correct the spelling.",
        _fields,
    ),
    Rule(
        "delivery/backoff-policy",
        "error",
        "backoffPolicy is linear or exponential: a KafkaSource takes any word.",
        "Write linear or exponential.",
        _policy,
    ),
    Rule(
        "delivery/duration",
        "error",
        "Delays and timeouts are ISO 8601 durations: PT5S, not 5s.",
        "Write PT5S for five seconds.",
        _durations,
    ),
    Rule("delivery/retry", "error", "retry is 0 or more.", "Write 0 or more.", _retry),
    Rule(
        "delivery/no-dead-letters",
        "warning",
        "Where events are retried there is a dead-letter sink: without one Knative commits and drops them at the end.",
        "Write deadLetterSink.",
        _lost,
    ),
    Rule(
        "delivery/no-retry",
        "warning",
        "Where there is a dead-letter sink there are retries: a delivery of its own replaces all of the broker's.",
        "Write retry.",
        _never_retried,
    ),
    Rule(
        "delivery/ignored",
        "warning",
        "retryAfterMax, format and backoffMax are in the API and not in Kafka's data plane.",
        "Remove it.",
        _ignored,
    ),
    Rule(
        "trigger/field",
        "error",
        "A Trigger has a broker, a subscriber, and only fields that exist: its schema keeps any other.",
        "Correct the spelling.",
        _trigger,
    ),
    Rule(
        "trigger/filter",
        "error",
        "A filter has one dialect: exact, prefix, suffix, all, any, not or cesql. Server-side apply takes any other.",
        "Write one dialect.",
        _dialect,
    ),
    Rule(
        "trigger/attribute",
        "error",
        "Attributes have lower-case letters and digits, 20 at most, and a value.",
        "Write the attribute's name as CloudEvents has it.",
        _attributes,
    ),
    Rule(
        "trigger/two-filters",
        "warning",
        "filter and filters do not stand together: filters win.",
        "Keep filters.",
        _both,
    ),
    Rule(
        "trigger/cesql",
        "error",
        "A CESQL expression closes its quotes and brackets, and uses CESQL's operators.",
        "See the CloudEvents SQL expression language.",
        _cesql,
    ),
)
