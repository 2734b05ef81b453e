"""Apps of a file as a twin on this machine: what ``headrace up`` and ``headrace demo`` share."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from headrace.local.resources import Topic
    from headrace.local.settings import TwinSettings
    from headrace.local.state import RunningApp
    from headrace.local.status import TwinEvent
    from headrace.local.twin import Twin
    from headrace.manifests.spec import InferenceApp


def twin_of(
    apps: Sequence[InferenceApp],
    *,
    home: Path,
    folder: Path,
    kafka: str | None,
    port: int,
    settings: TwinSettings | None = None,
    on_event: Callable[[TwinEvent], None] | None = None,
    echo: Callable[[str], None] | None = None,
) -> Twin:
    """The twin that runs what these apps render to.

    Args:
        apps: The apps.
        home: Folder of the twin's state, logs, traces and Kafka.
        folder: Where the file lies: the working folder of the containers, so that relative class paths work.
        kafka: ``HOST:PORT`` of a broker; None for the embedded one.
        port: Port of the ingress; 0 takes a free one.
        settings: How the twin itself behaves.
        on_event: Called with everything that happens.
        echo: Called with every line that a process writes.

    Raises:
        ConfigurationError: an app asks for what only a cluster can do; every such field is named. Or the settings for
            a broker of one's own, which the environment gives, are wrong.
    """
    _refuse_what_needs_a_cluster(apps)
    from headrace.local.settings import DEFAULTS
    from headrace.local.twin import Twin
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.rendering import render_all

    return Twin(
        render_all(apps, RenderOptions()),
        home=home,
        kafka=kafka,
        port=port,
        cwd=folder,
        apps=tuple(_known(app) for app in apps),
        settings=settings or DEFAULTS,
        on_event=on_event,
        echo=echo,
        create_topics=_creator(kafka),
    )


def _known(app: InferenceApp) -> RunningApp:
    """What the other commands learn of an app."""
    from headrace.local.state import RunningApp
    from headrace.manifests.parts.filters import rules

    trigger = app.spec.trigger
    return RunningApp(
        app.name,
        app.namespace,
        (trigger.topic,),
        app.result_topic or "",
        trigger.dead_letter_topic,
        app.consumer_group,
        tuple(rules(trigger.filter, trigger.filters)),
    )


def _refuse_what_needs_a_cluster(apps: Sequence[InferenceApp]) -> None:
    problems = [
        f"app {app.name}: spec.{field}: {value}: the twin does not do this"
        for app in apps
        for field, value, missing in (
            ("trigger.delivery", app.spec.trigger.delivery, app.spec.trigger.delivery != "headrace"),
            ("transformer.collocated", "true", bool(app.spec.transformer and app.spec.transformer.collocated)),
        )
        if missing
    ]
    if problems:
        hint = "leave the field out here; `headrace render` knows it"
        raise ConfigurationError("Not to be run on this machine", problems=tuple(problems), hint=hint)


def _creator(kafka: str | None) -> Callable[[str, tuple[Topic, ...]], Awaitable[None]]:
    """What creates topics: with the environment's settings on a broker of one's own, with none on the embedded one."""
    from headrace.eventing.kafka.environment import kafka_settings

    own = kafka_settings(bootstrap=kafka) if kafka else None

    async def create(bootstrap: str, topics: tuple[Topic, ...]) -> None:
        from headrace.eventing.kafka.topics import TopicSpec, create_topics

        wanted = [TopicSpec(topic.name, topic.partitions, topic.config) for topic in topics]
        await asyncio.get_running_loop().run_in_executor(None, create_topics, own or bootstrap, wanted)

    return create


def on_port(settings: TwinSettings, kafka_port: int) -> TwinSettings:
    """The settings with the embedded broker's port."""
    return replace(settings, kafka_port=kafka_port)


def event_line(event: TwinEvent) -> str:
    """What happened, in a line for people; empty for what they need not see."""
    who = event.replica or event.subject
    lines = {
        "starting": f"{who} is starting{_because(event)}",
        "ready": f"{who} is ready after {event.seconds:.1f} s{_because(event)}",
        "stopping": "",
        "stopped": f"{who} is stopped{_because(event)}",
        "died": f"{who} died after {event.seconds:.1f} s{_because(event)}",
        "failed": f"{who} does not start{_because(event)}",
        "skipped": f"not run here: {event.subject}{_because(event)}",
        "note": f"{who}{_because(event)}",
    }
    return lines[event.kind]


def _because(event: TwinEvent) -> str:
    return f": {event.detail}" if event.detail else ""
