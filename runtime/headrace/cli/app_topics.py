"""The topics of an app, for commands that a user gives an app's name: from its file, else from the running twin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError
from headrace.local.state import Home

if TYPE_CHECKING:
    from headrace.eventing.filters import Filter
    from headrace.local.state import RunningApp
    from headrace.manifests.spec import InferenceApp

USUAL_FILE = Path("headrace.yaml")


@dataclass(frozen=True, slots=True)
class AppTopics:
    """What an app reads and writes."""

    events: str
    dead_letters: str
    results: str | None
    """None where its answers are not kept."""
    group: str | None
    """Its consumer group; None where nobody knows it."""
    wanted: Filter | None = None
    """What its trigger lets through; None for every event."""


def app_topics(name: str | None, file: Path | None) -> AppTopics:
    """The topics of the app.

    Args:
        name: Its name; None for the only one that there is.
        file: Its headrace.yaml; None for the one in this folder, where there is one, else for what the twin runs.

    Raises:
        ConfigurationError: there is no such app, or several and no name.
    """
    known, place = _known(file)
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name in known:
        return known[name]
    wrong = f"{place} has no app {name!r}" if name else f"{place} has {len(known) or 'no'} apps"
    hint = f"it has {', '.join(known)}: give --app" if known else "give --topic, or the app's file with -f"
    raise ConfigurationError(wrong, hint=hint)


def topic_named(name: str, file: Path | None) -> str:
    """The topic of events of the app of that name; the name itself where there is no such app.

    Raises:
        ConfigurationError: the file that was given cannot be read, or has mistakes.
    """
    known, _ = _known(file)
    return known[name].events if name in known else name


def _known(file: Path | None) -> tuple[dict[str, AppTopics], str]:
    chosen = file or (USUAL_FILE if USUAL_FILE.exists() else None)
    if chosen:
        return _in_file(chosen), str(chosen)
    running = Home.of().read()
    found = {app.name: _topics_of_running(app) for app in running.apps} if running else {}
    return found, "the running `headrace up`" if running else "this folder"


def _in_file(file: Path) -> dict[str, AppTopics]:
    from headrace.manifests.loading import load_apps

    return {app.name: _topics_of(app) for app in load_apps(file)}


def _topics_of_running(app: RunningApp) -> AppTopics:
    from headrace.eventing.filters import compile_filters

    return AppTopics(
        app.topics[0],
        app.dead_letters,
        app.results or None,
        app.group or None,
        compile_filters(app.filters) if app.filters else None,
    )


def _topics_of(app: InferenceApp) -> AppTopics:
    from headrace.manifests.parts.filters import event_filter

    trigger = app.spec.trigger
    return AppTopics(
        trigger.topic,
        trigger.dead_letter_topic,
        app.result_topic,
        app.consumer_group,
        event_filter(trigger.filter, trigger.filters),
    )
