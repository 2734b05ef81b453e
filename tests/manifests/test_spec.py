"""The app spec: defaults, derived values, round trips."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.manifests.loading import parse_apps
from headrace.manifests.quantity import format_duration
from headrace.manifests.spec import InferenceApp
from headrace.manifests.yaml_text import to_yaml

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_smallest_app_has_a_class_and_a_topic(app_of: Callable[..., InferenceApp]) -> None:
    """Everything else has a default: idle at zero, one replica at most, no batching surprises, a named group."""
    app = app_of()
    predictor, trigger = app.spec.predictor, app.spec.trigger
    assert (app.name, app.namespace, app.consumer_group) == ("echo", "default", "headrace.default.echo")
    assert (predictor.scale.min, predictor.scale.max, predictor.scale.idle) == (0, 1, timedelta(minutes=5))
    assert (predictor.batching.max_size, predictor.batching.max_delay) == (32, timedelta(milliseconds=5))
    assert (predictor.resources.cpu, predictor.resources.memory, predictor.resources.gpu) == (1.0, 2 << 30, 0)
    assert (trigger.ordering, trigger.partitions, trigger.timeout) == ("none", 8, timedelta(seconds=60))
    assert (trigger.retry.attempts, trigger.retry.backoff) == (5, "exponential")
    assert trigger.dead_letter_topic == "words.dead-letters"
    assert app.result_topic is None
    assert app.spec.transformer is None


def test_a_named_group_and_dead_letter_topic_go_before_the_defaults(app_of: Callable[..., InferenceApp]) -> None:
    """What the file says is what is used."""
    app = app_of(spec={"trigger": {"group": "mine", "deadLetters": "lost"}, "results": {"topic": "answers"}})
    assert (app.consumer_group, app.spec.trigger.dead_letter_topic, app.result_topic) == ("mine", "lost", "answers")


def test_the_model_version_changes_with_class_and_model_alone(app_of: Callable[..., InferenceApp]) -> None:
    """Result ids are made from it: a changed replica count must not change them, changed weights must."""
    plain = app_of().model_version
    assert app_of(spec={"predictor": {"scale": {"max": 9}}}).model_version == plain
    assert app_of(spec={"predictor": {"model": "s3://b/m"}}).model_version != plain
    assert app_of(spec={"predictor": {"class": "models.echo:Other"}}).model_version != plain
    assert app_of(spec={"predictor": {"version": "2026-05"}}).model_version == "2026-05"


def test_the_model_version_is_the_same_in_every_process(app_of: Callable[..., InferenceApp]) -> None:
    """A hash that depended on the process would give a redelivered event a new result id."""
    code = (
        "from headrace.manifests.loading import parse_apps; import sys;"
        "print(parse_apps(sys.argv[1], 'f')[0].model_version)"
    )
    command = [sys.executable, "-c", code, to_yaml([app_of().document()])]
    found = {
        subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {app_of().model_version}


def test_values_do_not_change(app_of: Callable[..., InferenceApp]) -> None:
    """An app is shared between threads and rooms: it is frozen."""
    app = app_of()
    with pytest.raises(ValidationError, match="frozen"):
        app.spec.trigger.topic = "other"  # type: ignore[misc]  # the point of the test


words = st.from_regex(r"[a-z][a-z0-9]{0,20}", fullmatch=True)
durations = st.integers(1, 60_000).map(lambda ms: format_duration(timedelta(milliseconds=ms)))
texts = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=30) | st.sampled_from(
    [
        "yes",
        "1e5",
        "0x1f",
        "null",
        "~",
        "1:30",
        "2024-01-01",
        "a: b",
        "# c",
        "- d",
        "'",
        '"',
        " ",
        "=",
        "<<",
        "two\nlines",
    ]
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Documents of sound apps."""
    low = draw(st.integers(0, 3))
    component = st.fixed_dictionaries(
        {"class": st.sampled_from(["a.b:C", "x/y.py:Z"])},
        optional={
            "env": st.dictionaries(words.map(lambda word: f"E_{word}"), texts, max_size=4),
            "scale": st.fixed_dictionaries({"min": st.just(low), "max": st.integers(max(low, 1), 9)}),
            "resources": st.fixed_dictionaries(
                {},
                optional={
                    "cpu": st.sampled_from([1, 0.5, "250m"]),
                    "memory": st.integers(1, 1 << 40),
                    "gpu": st.integers(0, 8),
                },
            ),
        },
    )
    spec = {
        "predictor": draw(component),
        "trigger": {"topic": "in", "timeout": draw(durations.map(lambda d: "9s" + d))},
    }
    if draw(st.booleans()):
        spec["transformer"] = draw(component)
    if draw(st.booleans()):
        spec["results"] = {"topic": "out"}
    metadata = {"name": draw(words), "labels": draw(st.dictionaries(words, words, max_size=3))}
    return {"apiVersion": "headrace.dev/v1alpha1", "kind": "InferenceApp", "metadata": metadata, "spec": spec}


@given(documents())
def test_an_app_survives_its_yaml(value: dict[str, Any]) -> None:
    """Spec to YAML to spec is the same app: the dispatcher reads what the renderer wrote."""
    app = InferenceApp.model_validate(value)
    text = to_yaml([app.document()])
    assert parse_apps(text, "f") == [app]
    assert to_yaml([parse_apps(text, "f")[0].document()]) == text


@given(st.dictionaries(texts, texts | st.integers() | st.booleans() | st.none() | st.lists(texts)))
def test_yaml_text_reads_back_as_written(value: dict[str, Any]) -> None:
    """Text stays text whatever it looks like; other values keep their kind."""
    assert list(yaml.safe_load_all(to_yaml([value, value]))) == [value, value]


@pytest.mark.parametrize("text", ["1e5", "y", "N", "0o17", "1_000", "12345e67", "on", ".5", "-", "0x1F", "2024-01-01"])
def test_text_that_another_yaml_reader_takes_for_a_value_is_quoted(text: str) -> None:
    """Kubernetes' reader takes ``1e5`` for a number where PyYAML does not: quotes leave no room."""
    assert to_yaml([{"value": text}]) == f'value: "{text}"\n'
