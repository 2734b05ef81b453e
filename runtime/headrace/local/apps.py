"""Apps of a file as a twin on this machine: what ``headrace up``, ``headrace demo`` and tests of apps share."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from headrace.eventing.kafka.environment import kafka_settings
from headrace.eventing.kafka.topics import TopicSpec, create_topics
from headrace.local.clock import SYSTEM_CLOCK
from headrace.local.settings import DEFAULTS, TwinSettings
from headrace.local.state import RunningApp
from headrace.local.twin import Twin
from headrace.manifests.options import RenderOptions
from headrace.manifests.parts.filters import rules
from headrace.manifests.rendering import render_all

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from headrace.local.clock import Clock
    from headrace.local.resources import Topic
    from headrace.local.status import TwinEvent
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
    clock: Clock = SYSTEM_CLOCK,
    environment: Mapping[str, str] = os.environ,
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
        clock: Tells the autoscalers the time.
        environment: What the containers inherit.

    Raises:
        ConfigurationError: the settings for a broker of one's own, which the environment gives, are wrong.
    """
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
        create_topics=topic_creator(kafka),
        clock=clock,
        environment=environment,
    )


def _known(app: InferenceApp) -> RunningApp:
    """What the other commands learn of an app."""
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


def topic_creator(kafka: str | None) -> Callable[[str, tuple[Topic, ...]], Awaitable[None]]:
    """What creates topics: with the environment's settings on a broker of one's own, with none on the embedded one."""
    own = kafka_settings(bootstrap=kafka) if kafka else None

    async def create(bootstrap: str, topics: tuple[Topic, ...]) -> None:
        wanted = [TopicSpec(topic.name, topic.partitions, topic.config) for topic in topics]
        await asyncio.get_running_loop().run_in_executor(None, create_topics, own or bootstrap, wanted)

    return create
