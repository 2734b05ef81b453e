"""Mistakes in a headrace.yaml: each is named with place, value and remedy, all in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headrace.errors import ConfigurationError
from headrace.manifests.loading import load_apps, parse_apps
from headrace.manifests.yaml_text import to_yaml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Document = dict[str, Any]


def problems(text: str) -> tuple[str, ...]:
    """What is found wrong with ``text``."""
    with pytest.raises(ConfigurationError) as caught:
        parse_apps(text, "app.yaml")
    return caught.value.problems


# Six lines that unfold to half a million values.
BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcde", "bcdef", strict=True)
)
DEEP: Document = {"exact": {"a": "b"}}
for _ in range(33):
    DEEP = {"not": DEEP}
MISTAKES: list[tuple[Document, str, list[str]]] = [
    ({"predictor": {"scale": {"min": -1}}}, "spec.predictor.scale.min", ["-1", "0 or more"]),
    ({"predictor": {"scale": {"min": 3}}}, "spec.predictor.scale.max", ["1", "below min, which is 3"]),
    ({"predictor": {"scale": {"max": 0}}}, "spec.predictor.scale.max", ["0", "1 or more"]),
    ({"predictor": {"scale": {"max": "3"}}}, "spec.predictor.scale.max", ["'3'", "whole number", "remove the quotes"]),
    ({"predictor": {"scale": {"max": 2.5}}}, "spec.predictor.scale.max", ["2.5", "whole number"]),
    ({"predictor": {"scale": {"max": True}}}, "spec.predictor.scale.max", ["true", "whole number"]),
    ({"predictor": {"scale": {"idle": 30}}}, "spec.predictor.scale.idle", ["30", "with its unit"]),
    ({"predictor": {"scale": {"idle": "2h"}}}, "spec.predictor.scale.idle", ["'2h'", "between 1s and 1h"]),
    ({"predictor": {"scale": {"maxReplicas": 2}}}, "spec.predictor.scale.maxReplicas", ["unknown key"]),
    ({"predictor": {"batching": {"maxSize": 0}}}, "spec.predictor.batching.maxSize", ["0", "1 or more"]),
    ({"predictor": {"batching": {"max_size": 4}}}, "spec.predictor.batching.max_size", ["did you mean maxSize?"]),
    ({"predictor": {"batching": {"maxDelay": "2m"}}}, "spec.predictor.batching.maxDelay", ["between 0s and 1m"]),
    ({"predictor": {"batching": {"maxBytes": "64MB"}}}, "spec.predictor.batching.maxBytes", ["'64MB'", "4Gi"]),
    ({"predictor": {"batching": {"maxTokens": 0}}}, "spec.predictor.batching.maxTokens", ["0", "1 or more"]),
    ({"predictor": {"execution": "fork"}}, "spec.predictor.execution", ["'fork'", "thread"]),
    ({"predictor": {"resources": {"memory": "4GB"}}}, "spec.predictor.resources.memory", ["'4GB'", "4Gi"]),
    ({"predictor": {"resources": {"memory": "500m"}}}, "spec.predictor.resources.memory", ["write 500Mi"]),
    ({"predictor": {"resources": {"cpu": "two"}}}, "spec.predictor.resources.cpu", ["'two'", "500m"]),
    ({"predictor": {"resources": {"gpus": 1}}}, "spec.predictor.resources.gpus", ["did you mean gpu?"]),
    ({"predictor": {"class": "models.Echo"}}, "spec.predictor.class", ["write module and class", "models:Echo"]),
    ({"predictor": {"class": "echo"}}, "spec.predictor.class", ["package.module:Class"]),
    ({"predictor": {"class": False}}, "spec.predictor.class", ["false", "in quotes"]),
    ({"predictor": {"model": "ftp://host/m"}}, "spec.predictor.model", ["ftp://", "s3://"]),
    ({"predictor": {"model": ""}}, "spec.predictor.model", ["''"]),
    ({"predictor": {"version": 1.0}}, "spec.predictor.version", ["1.0", "put the number in quotes"]),
    ({"predictor": {"version": "a b"}}, "spec.predictor.version", ["'a b'"]),
    ({"predictor": {"image": "My Image"}}, "spec.predictor.image", ["REGISTRY/NAME:TAG"]),
    ({"predictor": {"env": {"A": 1}}}, "spec.predictor.env.A", ["1", "put the number in quotes"]),
    ({"predictor": {"env": {"9A": "1"}}}, "spec.predictor.env.9A", ["starts with no digit"]),
    ({"predictor": {"env": {"PORT": "1"}}}, "spec.predictor.env.PORT", ["set by Knative or Headrace"]),
    ({"predictor": {"env": {"K_SERVICE": "1"}}}, "spec.predictor.env.K_SERVICE", ["choose another name"]),
    ({"predictor": {"env": ["A=1"]}}, "spec.predictor.env", ["a list", "KEY: VALUE"]),
    ({"predictor": "models.echo:Echo"}, "spec.predictor", ["must be a mapping"]),
    ({"predictor": None}, "spec.predictor", ["is missing", "The model"]),
    ({"transformer": {"model": "s3://b/m", "class": "a:B"}}, "spec.transformer.model", ["spec.predictor.model"]),
    ({"trigger": {"topic": None}}, "spec.trigger.topic", ["is missing", "Kafka topic"]),
    ({"trigger": {"topic": "my topic"}}, "spec.trigger.topic", ["'my topic'", "letters, digits"]),
    ({"trigger": {"topic": "x" * 250}}, "spec.trigger.topic", ["1 to 249"]),
    ({"trigger": {"topic": ".."}}, "spec.trigger.topic", ["'..'"]),
    ({"trigger": {"topic": "x" * 240}}, "spec.trigger.deadLetters", ["too long", "name the dead letters' topic"]),
    ({"trigger": {"filter": "type == 'a'"}}, "spec.trigger.filter", ["column 7", "equality is written with one ="]),
    ({"trigger": {"filter": "type"}}, "spec.trigger.filter", ["column 1", "write type = TRUE"]),
    ({"trigger": {"filters": [{}]}}, "spec.trigger.filters.0", ["one of exact, prefix"]),
    ({"trigger": {"filters": [{"exact": None}]}}, "spec.trigger.filters.0", ["one of exact, prefix"]),
    ({"trigger": {"filters": [{"exact": {"Type": "a"}}]}}, "spec.trigger.filters.0.exact", ["Type: ", "lower-case"]),
    ({"trigger": {"filters": [{"exact": {"a": 5}}]}}, "spec.trigger.filters.0.exact.a", ["put the number in quotes"]),
    ({"trigger": {"filters": [{"prefixes": {}}]}}, "spec.trigger.filters.0.prefixes", ["did you mean prefix?"]),
    ({"trigger": {"filters": [{"any": [{"exakt": {}}]}]}}, "spec.trigger.filters.0.any.0.exakt", ["mean exact?"]),
    ({"trigger": {"filters": [{"not": {"any": []}}]}}, "spec.trigger.filters.0.not.any", ["one entry at least"]),
    ({"trigger": {"filters": [{"cesql": "a b"}]}}, "spec.trigger.filters.0.cesql", ["column 3: an operator"]),
    (
        {"trigger": {"filter": "a = 'b'", "delivery": "knative-source"}},
        "spec.trigger.delivery",
        ["a KafkaSource has no filters"],
    ),
    ({"trigger": {"filters": [DEEP]}}, "spec.trigger.filters", ["more than 32 filters inside each other"]),
    (
        {"externalSecrets": [{"name": "m", "store": "v", "keys": {}}]},
        "spec.externalSecrets.0.keys",
        ["one entry at least"],
    ),
    (
        {"predictor": {"secrets": {"T": {"name": "m", "key": "k", "kye": "k"}}}},
        "spec.predictor.secrets.T.kye",
        ["did you mean key?"],
    ),
    ({"trigger": {"delivery": "knative"}}, "spec.trigger.delivery", ["did you mean knative-source?"]),
    ({"trigger": {"ordering": "keys"}}, "spec.trigger.ordering", ["'keys'", "none or key or partition", "mean key?"]),
    ({"trigger": {"retry": {"backoff": "exponental"}}}, "spec.trigger.retry.backoff", ["did you mean exponential?"]),
    ({"trigger": {"retry": {"attempts": 0}}}, "spec.trigger.retry.attempts", ["0", "1 or more"]),
    ({"trigger": {"retry": {"delay": "40s"}}}, "spec.trigger.retry.maxDelay", ["30s", "below delay, which is 40s"]),
    ({"trigger": {"retry": {"delay": "0s"}}}, "spec.trigger.retry.delay", ["between 1ms and 1h"]),
    ({"trigger": {"attempts": 3}}, "spec.trigger.attempts", ["it belongs at spec.trigger.retry.attempts"]),
    ({"trigger": {"deadLetters": "words"}}, "spec.trigger.deadLetters", ["trigger's own topic"]),
    ({"trigger": {"topic": "a.b", "deadLetters": "a_b"}}, "spec.trigger.deadLetters", ["'.' and '_' alone"]),
    ({"trigger": {"timeout": "11m"}}, "spec.trigger.timeout", ["between 1s and 10m"]),
    ({"trigger": {"coldStart": "0s"}}, "spec.trigger.coldStart", ["between 1s and 1h"]),
    ({"trigger": {"partitions": 0}}, "spec.trigger.partitions", ["1 or more"]),
    ({"trigger": {"group": "a b"}}, "spec.trigger.group", ["no space"]),
    ({"results": {"topic": "words"}}, "spec.results.topic", ["'words'", "trigger's topic", "new event"]),
    ({"results": {"topic": "words.dead-letters"}}, "spec.results.topic", ["dead letters' topic"]),
    ({"trigger": {"topic": "a.b"}, "results": {"topic": "a_b"}}, "spec.results.topic", ["'.' and '_' alone"]),
    ({"resultz": {"topic": "a"}}, "spec.resultz", ["did you mean results?"]),
]


@pytest.mark.parametrize(
    ("changes", "path", "parts"), MISTAKES, ids=[f"{path}-{i}" for i, (_, path, _) in enumerate(MISTAKES)]
)
def test_a_mistake_names_its_place_and_remedy(
    document: Callable[..., Document], changes: Document, path: str, parts: list[str]
) -> None:
    """One mistake gives one problem: file, line, app, path, value and what to write instead."""
    found = problems(to_yaml([document(spec=changes)]))
    assert len(found) == 1, found
    assert f": app echo: {path}: " in found[0]
    assert found[0].startswith("app.yaml:")
    for part in parts:
        assert part in found[0]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"apiVersion": "headrace.dev/v1"}, "apiVersion: 'headrace.dev/v1': must be headrace.dev/v1alpha1"),
        ({"apiVersion": None}, "apiVersion: is missing (write apiVersion: headrace.dev/v1alpha1)"),
        ({"kind": "Deployment"}, "kind: 'Deployment': must be InferenceApp"),
        ({"metadata": {"name": "Echo_1"}}, "metadata.name: 'Echo_1': a name has lower-case letters"),
        ({"metadata": {"name": "e" * 49}}, "49 characters; 48 at most"),
        ({"metadata": {"name": 5}}, "metadata.name: 5: must be text; put the number in quotes"),
        ({"metadata": {"namespace": "-a"}}, "metadata.namespace: '-a': "),
        ({"metadata": {"labels": {"a b": "c"}}}, "metadata.labels.a b: 'a b': a label's key"),
        ({"metadata": {"labels": {"app.kubernetes.io/name": "c"}}}, "written by Headrace"),
        ({"metadata": {"labels": {"a": True}}}, "metadata.labels.a: true: must be text; YAML reads yes"),
        ({"metadata": {"namspace": "x"}}, "metadata.namspace: unknown key; did you mean namespace?"),
    ],
)
def test_a_mistake_outside_spec_is_named_as_well(
    document: Callable[..., Document], changes: Document, part: str
) -> None:
    """The frame of the document has the same kind of messages."""
    found = problems(to_yaml([document(**changes)]))
    assert len(found) == 1
    assert part in found[0]


def test_all_mistakes_of_all_apps_come_at_once_in_the_order_of_lines(document: Callable[..., Document]) -> None:
    """A file is mended in one go: mistakes in one place hide none in another, not even a rule between two fields."""
    first = document(spec={"predictor": {"class": "x", "scale": {"min": 3}}, "results": {"topic": "words"}})
    second = document(metadata={"name": "other"}, spec={"trigger": {"timeout": 5, "retry": {"delay": "1h"}}})
    found = problems(to_yaml([first, second]))
    paths = [line.split(": ")[2] for line in found]
    assert set(paths) == {
        "spec.predictor.class", "spec.predictor.scale.max", "spec.results.topic", "spec.trigger.timeout",
        "spec.trigger.retry.maxDelay",
    }  # fmt: skip
    lines = [int(line.split(":")[1]) for line in found]
    assert lines == sorted(lines)


def test_a_mistake_has_its_line() -> None:
    """The line is that of the key, so that an editor jumps there."""
    text = "apiVersion: headrace.dev/v1alpha1\nkind: InferenceApp\nmetadata:\n  name: a\n"
    text += "spec:\n  predictor:\n    class: x\n  trigger: {topic: t}\n"
    assert problems(text)[0].startswith("app.yaml:7: app a: spec.predictor.class: ")


def test_apps_of_one_name_are_refused_whatever_their_namespace(document: Callable[..., Document]) -> None:
    """Commands name an app by its name alone."""
    apps = [document(), document(metadata={"namespace": "b"}, spec={"trigger": {"topic": "t"}})]
    assert "the name is taken by the app on line 4" in problems(to_yaml(apps))[0]


def test_apps_that_share_a_topic_must_agree_on_it(document: Callable[..., Document]) -> None:
    """Two numbers of partitions, or one consumer group for two apps, are mistakes between apps."""
    one = document(spec={"trigger": {"group": "g"}})
    two = document(metadata={"name": "b"}, spec={"trigger": {"group": "g", "partitions": 3}})
    found = "\n".join(problems(to_yaml([one, two])))
    assert "spec.trigger.partitions: 3: app echo gives this topic 8" in found
    assert "spec.trigger.group: 'g': is app echo's too" in found


def test_topics_of_two_apps_that_kafka_takes_for_one_are_refused(document: Callable[..., Document]) -> None:
    """A broker refuses the second of ``a.b`` and ``a_b``."""
    one, two = (
        document(metadata={"name": name}, spec={"trigger": {"topic": topic, "deadLetters": f"dead-{name}"}})
        for name, topic in (("a", "a.b"), ("b", "a_b"))
    )
    assert "differ in '.' and '_' alone" in problems(to_yaml([one, two]))[0]


def test_apps_whose_answers_come_back_are_refused(document: Callable[..., Document]) -> None:
    """A chain of apps is fine, a circle would answer one event for ever."""

    def app(name: str, topic: str, results: str) -> Document:
        return document(metadata={"name": name}, spec={"trigger": {"topic": topic}, "results": {"topic": results}})

    chain = [app("a", "one", "two"), app("b", "two", "three")]
    assert [each.name for each in parse_apps(to_yaml(chain), "f")] == ["a", "b"]
    found = problems(to_yaml([*chain, app("c", "three", "one")]))
    assert len(found) == 3
    assert all("without end" in each for each in found)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a: [1", ["app.yaml:1: not YAML", "flow sequence"]),
        ("a:\n\tb: 1", ["app.yaml:2: ", "indent with spaces"]),
        ("- a\n- b", ["document 1 is a list", "apiVersion"]),
        ("hello", ["document 1 is the value 'hello'"]),
        ("a: *nobody", ["undefined alias 'nobody'"]),
        ("a: \x07", ["U+0007", "remove it"]),
        ("a: &x [*x]", ["aliases"]),
        (BOMB, ["unfolds to more"]),
        ("x: !!python/object/apply:os.system [ls]\nkind: InferenceApp", ["x: unknown key"]),
        ("x: !secret y", ["cannot be read", "!secret"]),
        ("? [a]\n: 1", ["a key must be text"]),
    ],
    ids=["syntax", "tab", "list", "scalar", "alias", "control", "recursive", "bomb", "object", "tag", "list-key"],
)  # fmt: skip
def test_a_file_that_is_no_mapping_is_said_to_be_so(text: str, parts: list[str]) -> None:
    """What YAML itself refuses, or reads as no app, has a line and a remedy, and never runs anything."""
    found = "\n".join(problems(text))
    for part in parts:
        assert part in found


def test_a_key_given_twice_is_refused(document: Callable[..., Document]) -> None:
    """YAML readers keep the last and say nothing: half of the file would be ignored."""
    text = to_yaml([document()]) + "    topic: words2\n"
    found = problems(text)
    assert len(found) == 1
    assert "key 'topic' is given twice, first on line" in found[0]


def test_a_key_that_yaml_takes_for_a_boolean_is_named(document: Callable[..., Document]) -> None:
    """``on:`` is the boolean true to YAML 1.1."""
    found = problems(to_yaml([document()]) + "on: 1\n")
    assert found == ("app.yaml:10: key 'on' is a boolean in YAML; put it in quotes where you mean the word",)


def test_aliases_and_merge_keys_may_share_parts(document: Callable[..., Document]) -> None:
    """Anchors are YAML's way to say a thing once; a key of the mapping's own goes before a merged one."""
    text = to_yaml([document(spec={"trigger": None})])
    text += "  transformer: {class: 'a:B', scale: &s {max: 3, idle: 1m}}\n"
    text += "  trigger: {topic: words}\n"
    text = text.replace("class: models.echo:Echo", "class: models.echo:Echo\n    scale: &p {max: 7, idle: 9s}")
    text = text.replace("scale: &s {max: 3, idle: 1m}", "scale: {<<: *p, max: 3}")
    scale = parse_apps(text, "f")[0].spec.transformer
    assert scale is not None
    assert (scale.scale.max, scale.scale.idle.total_seconds()) == (3, 9)


def test_empty_documents_are_no_apps(document: Callable[..., Document]) -> None:
    """A separator at the end or twice in a row is not an app with everything missing."""
    text = to_yaml([document()])
    assert len(parse_apps(f"---\n{text}---\n---\n", "f")) == 1


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n---\n"])
def test_a_file_without_an_app_is_refused(tmp_path: Path, text: str) -> None:
    """An empty file is a mistake, not nothing to do."""
    path = tmp_path / "headrace.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"headrace\.yaml holds no app"):
        load_apps(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a folder, of another encoding, or huge: the file is named and so is the remedy."""
    with pytest.raises(ConfigurationError, match=r"none\.yaml does not exist \(name the app's file"):
        load_apps(tmp_path / "none.yaml")
    with pytest.raises(ConfigurationError, match="is a folder"):
        load_apps(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("kind: Müller".encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"latin\.yaml is not UTF-8: byte 8 is 0xfc"):
        load_apps(latin)
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigurationError, match="larger than 1 MiB"):
        load_apps(huge)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path, document: Callable[..., Document]) -> None:
    """Some editors write one."""
    path = tmp_path / "headrace.yaml"
    path.write_text(to_yaml([document()]), encoding="utf-8-sig")
    assert load_apps(str(path))[0].name == "echo"


def test_the_example_is_sound(pictures: Path) -> None:
    """What users copy first must load."""
    app = load_apps(pictures)[0]
    assert (app.name, app.namespace, app.result_topic) == ("picture-labels", "vision", "pictures.labels")
