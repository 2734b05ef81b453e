"""From a ``headrace.yaml`` to its apps, or to every mistake in it at once."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from pydantic import ValidationError

from headrace.errors import ConfigurationError
from headrace.manifests import faults, names
from headrace.manifests.document import Document, Problem, read_documents
from headrace.manifests.profiles import problems_under, profile_names, with_profile
from headrace.manifests.spec import InferenceApp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.manifests.document import Path

_LARGEST_FILE = 1 << 20


def load_apps(path: FilePath | str, profile: str | None = None) -> list[InferenceApp]:
    """The apps of a file, in its order, as they are or under a profile.

    Raises:
        ConfigurationError: the file cannot be read, or holds mistakes; ``problems`` has one line a mistake.
    """
    path = FilePath(path)
    return parse_apps(_read(path), str(path), profile)


def parse_apps(text: str, source: str, profile: str | None = None) -> list[InferenceApp]:
    """The apps of the YAML ``text``; ``source`` names it in errors.

    Every profile of the file is checked, whichever is asked for.

    Raises:
        ConfigurationError: naming every mistake by line, app, path, value and remedy.
    """
    documents, problems = read_documents(text)
    found = [(document, _validated(document, problems)) for document in documents]
    apps = [(document, app) for document, app in found if app]
    problems += _problems_of_profiles(apps, profile)
    problems += _problems_between(apps)
    if not documents and not problems:
        raise ConfigurationError(
            f"{source} holds no app", hint="write one that starts with apiVersion: headrace.dev/v1alpha1"
        )
    if problems:
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        ordered = sorted(problems, key=lambda problem: problem.line)
        raise ConfigurationError(
            f"{source} has {count}", problems=tuple(f"{source}:{each.line}: {each.text}" for each in ordered)
        )
    if profile is None:
        return [app for _, app in apps]
    # Of several apps some may have a profile of that name and others none: those stay as they are.
    chosen = [(doc, with_profile(app, profile) if profile in profile_names(app) else app) for doc, app in apps]
    if between := list(_problems_between(chosen)):
        texts = tuple(f"{source}:{each.line}: profile {profile}: {each.text}" for each in between)
        raise ConfigurationError(f"{source} has mistakes under profile {profile}", problems=texts)
    return [app for _, app in chosen]


def _read(path: FilePath) -> str:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ConfigurationError(f"{path} is larger than 1 MiB", hint="is it the app's file?")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist", hint="name the app's file with -f FILE") from None
    except IsADirectoryError:
        raise ConfigurationError(f"{path} is a folder", hint=f"name the file, such as {path}/headrace.yaml") from None
    except OSError as fault:
        raise ConfigurationError(f"{path} cannot be read: {fault.strerror}") from fault
    except UnicodeDecodeError as fault:
        raise ConfigurationError(
            f"{path} is not UTF-8: byte {fault.start + 1} is 0x{fault.object[fault.start]:02x}",
            hint="save the file as UTF-8",
        ) from None


def _validated(document: Document, problems: list[Problem]) -> InferenceApp | None:
    value = document.value
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else f"the value {value!r}"
        text = f"document {document.number} is {kind}; an app is a mapping that starts with apiVersion:"
        problems.append(Problem(document.line_of(()), text))
        return None
    try:
        return InferenceApp.model_validate(value)
    except ValidationError as fault:
        for error in fault.errors(include_url=False):
            path, text = faults.describe(error)
            problems.append(Problem(document.line_of(path), f"{_called(document)}: {text}"))
        return None


def _problems_of_profiles(apps: list[tuple[Document, InferenceApp]], wanted: str | None) -> Iterator[Problem]:
    """What is wrong with apps under their own profiles or the one wanted, or that no app has that one."""
    if apps and wanted is not None and not any(wanted in profile_names(app) for _, app in apps):
        known = list(dict.fromkeys(name for _, app in apps for name in profile_names(app)))
        near = faults.nearest(wanted, known)
        remedy = f"did you mean {near}?" if near else f"known are {', '.join(known)}"
        yield Problem(apps[0][0].line_of(()), f"there is no profile {wanted!r}; {remedy}")
    for document, app in apps:
        for name in profile_names(app):
            if name not in app.profiles and name != wanted:
                continue
            for path, text in problems_under(app, name):
                line = document.line_of(("profiles", name, *_within_profile(path)))
                yield Problem(line, f"{_called(document)}: {text}")


def _within_profile(path: Path) -> Path:
    """The place of a value of the app in a profile's changes, which have the labels at their top."""
    return path[1:] if path[:2] == ("metadata", "labels") else path


def _called(document: Document) -> str:
    """The app by its name where it has one, else by its place in the file."""
    metadata = document.value.get("metadata") if isinstance(document.value, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"app {name}" if isinstance(name, str) and name else f"document {document.number}"


def _problems_between(apps: list[tuple[Document, InferenceApp]]) -> Iterator[Problem]:
    """What is right in each app and wrong between two of them."""
    for (first, one), (second, two) in combinations(apps, 2):
        # In one namespace or two: commands such as `dispatch --app NAME` know an app by its name alone.
        if one.name == two.name:
            line = second.line_of(("metadata", "name"))
            known = first.line_of(("metadata", "name"))
            yield Problem(line, f"app {two.name}: the name is taken by the app on line {known}; choose another")
            continue
        for path, text in (*_pair_problems(one, two), *_answers_not_delivered(one, two)):
            yield Problem(second.line_of(path), f"app {two.name}: {text}")
    yield from _circles(apps)


def _pair_problems(one: InferenceApp, two: InferenceApp) -> Iterator[tuple[tuple[str, ...], str]]:
    trigger, other = two.spec.trigger, one.spec.trigger
    at = ("spec", "trigger", "topic")
    if trigger.topic == other.topic:
        if trigger.partitions != other.partitions:
            yield (
                ("spec", "trigger", "partitions"),
                f"spec.trigger.partitions: {trigger.partitions}: app {one.name} gives this topic {other.partitions}",
            )
        if two.consumer_group == one.consumer_group:
            yield (
                ("spec", "trigger", "group"),
                f"spec.trigger.group: {two.consumer_group!r}: is app {one.name}'s too: each would get half; rename it",
            )
    for mine in sorted(_topics(two)):
        for theirs in sorted(_topics(one)):
            if names.collide(mine, theirs):
                yield at, f"topic {mine!r} and app {one.name}'s {theirs!r} differ in '.' and '_' alone"


def _answers_not_delivered(one: InferenceApp, two: InferenceApp) -> Iterator[tuple[tuple[str, ...], str]]:
    """A Knative broker hands no answers on, so that none goes round: a chain through it would be silent."""
    for reader, writer in ((one, two), (two, one)):
        trigger = reader.spec.trigger
        if trigger.delivery == "knative-broker" and trigger.topic == writer.result_topic:
            text = f"spec.trigger.delivery: app {reader.name} reads app {writer.name}'s answers, which a broker holds "
            text += "back so that none goes round; choose headrace or knative-source"
            yield ("spec", "trigger", "delivery"), text


def _topics(app: InferenceApp) -> set[str]:
    named = {app.spec.trigger.topic, app.spec.trigger.dead_letter_topic, app.result_topic}
    return {topic for topic in named if topic}


def _circles(apps: list[tuple[Document, InferenceApp]]) -> Iterator[Problem]:
    """Apps whose answers come back to them through others: one event would go round for ever."""
    for document, app in apps:
        reached = {app.result_topic} - {None}
        while True:
            more = {other.result_topic for _, other in apps if other.spec.trigger.topic in reached} - {None} - reached
            if not more:
                break
            reached |= more
        if app.spec.trigger.topic in reached:
            path = ("spec", "results", "topic")
            text = f"app {app.name}: spec.results.topic: {app.result_topic!r}: its answers come back to "
            text += f"{app.spec.trigger.topic!r} through other apps, without end; break the circle"
            yield Problem(document.line_of(path), text)


__all__ = ["load_apps", "parse_apps"]
