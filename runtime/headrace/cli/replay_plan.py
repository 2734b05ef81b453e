"""From the options of ``headrace replay`` to the plan of a run."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from headrace.cli import ranges
from headrace.cli.app_topics import app_topics
from headrace.cli.moments import rate as rate_of
from headrace.cli.target import running_twin
from headrace.errors import ConfigurationError
from headrace.eventing.kafka.topics import create_topics
from headrace.eventing.replay.files import source_of
from headrace.eventing.replay.places.place import place_of
from headrace.eventing.replay.plan import Plan, ServedModel
from headrace.eventing.replay.ranges import find_ranges, first_chosen, limited
from headrace.eventing.replay.store import RunTopics
from headrace.local.state import Home

if TYPE_CHECKING:
    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.replay.plan import Rival
    from headrace.local.state import RunningApp, State


@dataclass(frozen=True, slots=True)
class Part:
    """What is replayed."""

    topic: str | None
    app: str | None
    dead_letters: bool
    """What failed for good, in place of the app's events."""
    recording: str | None
    attributes: tuple[str, ...]
    since: str | None
    until: str | None
    offsets: str | None
    group: str | None
    expression: str | None
    sample: str | None
    limit: int | None


@dataclass(frozen=True, slots=True)
class Target:
    """Who answers."""

    app: str | None
    url: str | None
    model: ServedModel | None
    rival: Rival | None
    """Who answers the same events, to be compared with."""
    dry: bool
    """Nobody: the events are counted."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Where answers go."""

    place: str | None
    live: bool


@dataclass(frozen=True, slots=True)
class Manner:
    """How fast, in what order."""

    rate: str | None
    speed: float | None
    ordering: str
    concurrency: int | None
    """None for as many as two requests hold, at least 16."""
    batch: int | None
    strict: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """All of it."""

    part: Part
    target: Target
    answers: Answers
    manner: Manner
    kafka: KafkaSettings


def new_plan(asked: Asked) -> Plan:
    """The plan of a new run; its topics of answers are made where they are not there.

    Raises:
        ConfigurationError: options that contradict each other, or mean what is not there.
        UnavailableError: no broker answers.
    """
    _refuse_contradictions(asked)
    plan = _paced(asked)
    plan = _sourced(plan, asked.part, asked.kafka)
    if asked.target.dry:
        return plan
    plan = replace(_targeted(plan, asked.target), rival=asked.target.rival)
    return _answering(plan, asked.answers, asked.kafka)


def _refuse_contradictions(asked: Asked) -> None:
    part = asked.part
    if asked.manner.rate and asked.manner.speed:
        raise ConfigurationError("--rate and --speed are two paces", hint="give one of them")
    named = [flag for flag in ("topic", "dead_letters", "since", "until", "offsets", "group") if getattr(part, flag)]
    if part.recording and named:
        flags = ", ".join(f"--{flag.replace('_', '-')}" for flag in named)
        raise ConfigurationError(f"--recording is all of a file, and {flags} are for topics", hint="give one of them")
    if part.topic and part.dead_letters:
        raise ConfigurationError("--topic and --dead-letters are two topics", hint="give one of them")
    if part.attributes and not (part.recording and place_of(part.recording).is_folder()):
        raise ConfigurationError("--attribute is for the files of a folder", hint="name it with --recording DIR")
    target = asked.target
    given = [flag for flag, value in (("--app", target.app), ("--to", target.url), ("--class", target.model)) if value]
    if len(given) > 1:
        raise ConfigurationError(f"{' and '.join(given)} are {len(given)} targets", hint="give one of them")


def _paced(asked: Asked) -> Plan:
    manner, now = asked.manner, datetime.now(timezone.utc)
    return Plan(
        run=f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        started=now.isoformat(timespec="seconds"),
        target="",
        filter=asked.part.expression or "",
        share=ranges.share(asked.part.sample),
        rate=rate_of(manner.rate, "--rate") if manner.rate else 0.0,
        speed=manner.speed or 0.0,
        ordering=manner.ordering,
        concurrency=manner.concurrency or max(16, 2 * (manner.batch or 1)),
        batch=manner.batch or 0,
        strict=manner.strict,
    )


def _sourced(plan: Plan, part: Part, kafka: KafkaSettings) -> Plan:
    chosen = ranges.choice(part.expression, part.sample)
    if part.recording:
        attributes = _attributes(part.attributes)
        place, end = place_of(part.recording), None
        source = source_of(place, attributes=dict(attributes), end=None)
        if part.limit:
            end = max((record.offset + 1 for record in first_chosen(source.read({}), chosen, part.limit)), default=0)
        return replace(plan, recording=place.name, version=place.version(), attributes=attributes, end=end)
    topic = part.topic or _app_topic(part)
    found = find_ranges(kafka, ranges.wanted(topic, part.since, part.until, part.offsets, part.group))
    if part.limit:
        found = limited(kafka, found, chosen, part.limit)
    for sentence in found.missing:
        ranges.warn(sentence)
    return replace(plan, ranges=found.ranges, compacted=found.compacted)


def _app_topic(part: Part) -> str:
    known = app_topics(part.app, None)
    return known.dead_letters if part.dead_letters else known.events


def _attributes(given: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = [text.partition("=") for text in given]
    if wrong := [name for name, sign, _ in found if not sign or not name]:
        raise ConfigurationError(f"--attribute {wrong[0]!r} is no attribute", hint="write subject={stem}")
    return tuple((name, text) for name, _, text in found)


def _targeted(plan: Plan, target: Target) -> Plan:
    if target.model:
        return replace(plan, served=target.model)
    if target.url:
        if not target.url.startswith(("http://", "https://")):
            raise ConfigurationError(f"--to {target.url!r} is no URL", hint="such as http://127.0.0.1:8080/")
        return replace(plan, target=target.url)
    app = _app(running_twin(), target.app)
    return replace(plan, target=app_url(app.name), identity=(app.namespace, app.name, app.name, ""))


def app_url(name: str) -> str:
    """Where an app of the running twin takes events.

    Raises:
        ConfigurationError: there is no such app, or nothing runs.
    """
    twin = running_twin()
    app = _app(twin, name)
    return f"{twin.ingress}/{app.namespace}/{app.name}/"


def served(
    predictor: str | None, model: str | None, transformer: str | None, environment: list[str] | None
) -> ServedModel | None:
    """The model that is started for the run alone; None where no class is given.

    Raises:
        ConfigurationError: there is no class for the other options, or a variable cannot be read.
    """
    if predictor is None:
        if model or transformer or environment:
            raise ConfigurationError(
                "--model, --transformer and --env belong to a model class", hint="give it with --class"
            )
        return None
    variables = [text.partition("=") for text in environment or ()]
    if wrong := [name for name, sign, _ in variables if not sign or not name]:
        raise ConfigurationError(f"--env {wrong[0]!r} is no variable", hint="write HEADRACE_AUTOCAST=bf16")
    told = tuple((name, value) for name, _, value in variables)
    return ServedModel(predictor, model or "", transformer or "", told)


def _app(twin: State, name: str | None) -> RunningApp:
    known = {app.name: app for app in twin.apps}
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name in known:
        return known[name]
    wrong = f"has no app {name!r}" if name else f"has {len(known)} apps"
    raise ConfigurationError(f"the running `headrace up` {wrong}", hint=f"it has {', '.join(known)}: give --app")


def _answering(plan: Plan, answers: Answers, kafka: KafkaSettings) -> Plan:
    place = answers.place
    if not place:
        return plan
    if place.endswith(".jsonl"):
        return _answering_to_file(plan, place)
    if not answers.live and place in _live_topics():
        raise ConfigurationError(
            f"{place} has the answers of a running app", hint="name another topic, or say --live if that is meant"
        )
    create_topics(kafka, RunTopics.beside(place).specs())
    return replace(plan, results_topic=place)


def _answering_to_file(plan: Plan, place: str) -> Plan:
    from pathlib import Path

    path = Path(place).absolute()
    if path.exists():
        raise ConfigurationError(f"{place} is there already", hint="give another name, or remove it")
    return replace(plan, results_file=str(path))


def _live_topics() -> set[str]:
    running = Home.of().read()
    return {app.results for app in running.apps} if running else set()


__all__ = ["Answers", "Asked", "Manner", "Part", "Target", "app_url", "new_plan", "served"]
