"""Profiles: what is laid over an app, and how mistakes in it are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headrace.errors import ConfigurationError
from headrace.manifests.loading import load_apps, parse_apps
from headrace.manifests.parts.prod import PROD
from headrace.manifests.profiles import laid_over, profile_names, with_profile
from headrace.manifests.spec import Profile
from headrace.manifests.yaml_text import to_yaml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]
    MakeDocument = Callable[..., dict[str, Any]]


def test_changes_are_laid_over_mapping_by_mapping() -> None:
    """A value and a list replace, a mapping is laid over, None removes, and neither side is touched."""
    base = {"a": 1, "b": {"c": 2, "d": [1, 2]}, "e": 3}
    changes: dict[str, Any] = {"b": {"c": None, "d": [3], "f": {"g": None, "h": 4}}, "e": None, "none": None}
    assert laid_over(base, changes) == {"a": 1, "b": {"d": [3], "f": {"h": 4}}}
    assert base == {"a": 1, "b": {"c": 2, "d": [1, 2]}, "e": 3}
    assert changes["b"]["f"] == {"g": None, "h": 4}


def test_dev_is_small(app_of: MakeApp) -> None:
    """One replica of each part, none when idle, and no GPU that a small cluster does not have."""
    spec = {
        "predictor": {
            "resources": {"gpu": 2, "memory": "8Gi"},
            "nodes": {"runtimeClass": "nvidia"},
            "scale": {"min": 2, "max": 9, "initial": 3, "activation": 4, "target": 3},
        },
        "transformer": {"class": "a:B", "scale": {"max": 5}},
    }
    found = with_profile(app_of(spec=spec), "dev").spec
    assert found.transformer is not None
    for part in (found.predictor, found.transformer):
        assert (part.scale.min, part.scale.max, part.scale.idle.total_seconds()) == (0, 1, 60)
        assert part.resources.gpu == 0
        assert part.nodes is None
    assert (found.predictor.scale.initial, found.predictor.scale.activation, found.predictor.scale.target) == (
        None,
        None,
        3,
    )
    assert found.predictor.resources.memory == 8 << 30


def test_dev_leaves_a_collocated_transformer_to_its_pod(app_of: MakeApp) -> None:
    """It may have no scale of its own, so none is written."""
    app = app_of(spec={"transformer": {"class": "a:B", "collocated": True, "resources": {"gpu": 1}}})
    transformer = with_profile(app, "dev").spec.transformer
    assert transformer is not None
    assert (transformer.collocated, transformer.resources.gpu) == (True, 0)


def test_gpu_asks_for_what_a_gpu_needs(app_of: MakeApp) -> None:
    """One GPU at least, its nodes' taint tolerated beside the app's own, room in /dev/shm within the memory."""
    plain = with_profile(app_of(spec={"predictor": {"resources": {"memory": "1Gi"}}}), "gpu").spec.predictor
    assert (plain.resources.gpu, plain.resources.shared_memory) == (1, 512 << 20)
    assert plain.nodes is not None
    assert [(each.key, each.effect) for each in plain.nodes.tolerations] == [("nvidia.com/gpu", "NoSchedule")]
    own = {
        "resources": {"gpu": 4, "sharedMemory": "64Mi"},
        "nodes": {"tolerations": [{"key": "spot"}], "runtimeClass": "n"},
    }
    found = with_profile(app_of(spec={"predictor": own}), "gpu").spec.predictor
    assert found.nodes is not None
    assert (found.resources.gpu, found.resources.shared_memory, found.nodes.runtime_class) == (4, 64 << 20, "n")
    assert [each.key for each in found.nodes.tolerations] == ["spot", "nvidia.com/gpu"]


def test_prod_turns_every_concern_on_and_keeps_what_the_app_says(app_of: MakeApp) -> None:
    """Each part is there; what the app has set in it stays."""
    found = with_profile(app_of(metadata={"namespace": "lab"}, spec={"tracing": {"sampling": 0.5}}), "prod").spec
    assert all(getattr(found, part) is not None for part in PROD["spec"])
    assert found.tracing is not None
    assert found.tracing.sampling == 0.5


def test_the_files_own_profile_is_laid_over_the_built_in_one(document: MakeDocument) -> None:
    """`prod` of the file changes Headrace's `prod`, and a further name is a profile of its own."""
    profiles = {
        "prod": {
            "spec": {"metrics": None, "predictor": {"scale": {"max": 7}}},
            "labels": {"stage": "prod", "team": None},
        },
        "eu": {"spec": {"trigger": {"topic": "words.eu"}}},
    }
    value = document(metadata={"labels": {"team": "a", "x": "y"}}) | {"profiles": profiles}
    text = to_yaml([value])
    (prod,) = parse_apps(text, "f", "prod")
    assert (prod.spec.metrics, prod.spec.predictor.scale.max) == (None, 7)
    assert prod.spec.network is not None
    assert prod.metadata.labels == {"x": "y", "stage": "prod"}
    (europe,) = parse_apps(text, "f", "eu")
    assert (europe.spec.trigger.topic, europe.spec.network) == ("words.eu", None)
    (plain,) = parse_apps(text, "f")
    assert profile_names(plain) == ["dev", "gpu", "prod", "eu"]
    assert plain.spec.predictor.scale.max == 1
    assert europe.profiles == prod.profiles == {}


def test_the_dispatchers_file_has_no_profiles(document: MakeDocument) -> None:
    """It says what the app is: a changed profile that is not in use makes no new pods."""
    (app,) = parse_apps(to_yaml([document() | {"profiles": {"eu": {"spec": {}}}}]), "f")
    assert "profiles" not in app.document()


def test_every_mistake_of_every_profile_is_told_at_once(document: MakeDocument) -> None:
    """Whichever profile is asked for: with the line, the profile, the path and the remedy, beside the app's own."""
    profiles = {
        "prod": {"spec": {"predictor": {"scale": {"min": 5, "max": 4}}, "triger": {}}},
        "eu": {"labels": {"a b": "c"}, "spec": {"predictor": None}},
    }
    text = to_yaml([document() | {"profiles": profiles}])
    for profile in (None, "dev"):
        with pytest.raises(ConfigurationError) as caught:
            parse_apps(text, "app.yaml", profile)
        lines = text.splitlines()
        for part, at in [
            ("profile prod: spec.predictor.scale.max: 4: max is below min, which is 5", "max: 4"),
            ("profile prod: spec.triger: unknown key; did you mean trigger?", "triger: {}"),
            ("profile eu: metadata.labels.a b: 'a b': a label's key", '"a b": c'),
            ("profile eu: spec.predictor: is missing (The model)", "predictor: null"),
        ]:
            (problem,) = [each for each in caught.value.problems if part in each]
            assert lines[int(problem.split(":")[1]) - 1].strip() == at
        assert len(caught.value.problems) == 4


def test_a_built_in_profile_that_does_not_fit_says_so(app_of: MakeApp) -> None:
    """The mistake names the profile: the app alone is right."""
    changes = {"predictor": {"resources": {"memory": "1Ki", "sharedMemory": "1Ki"}}}
    broken = app_of().model_copy(update={"profiles": {"gpu": Profile(spec=changes)}})
    with pytest.raises(ConfigurationError, match="cannot be had under profile gpu") as caught:
        with_profile(broken, "gpu")
    (problem,) = caught.value.problems
    assert problem.startswith(
        "profile gpu: spec.predictor.resources.sharedMemory: '1Ki': sharedMemory is a part of memory"
    )


def test_an_unknown_profile_is_told_with_those_that_there_are(app_of: MakeApp, document: MakeDocument) -> None:
    """With the nearest name where one is near."""
    with pytest.raises(ConfigurationError) as caught:
        with_profile(app_of(), "prods")
    assert caught.value.problems == ("there is no profile 'prods'; did you mean prod?",)
    with pytest.raises(ConfigurationError) as caught:
        parse_apps(to_yaml([document()]), "f", "x")
    assert caught.value.problems == ("f:1: there is no profile 'x'; known are dev, gpu, prod",)


def test_an_app_without_the_profile_stays_as_it_is(document: MakeDocument) -> None:
    """Where another app of the file has a profile of that name; and what lies between the apps is checked again."""
    one = document() | {"profiles": {"eu": {"spec": {"trigger": {"topic": "x"}}}}}
    two = document(metadata={"name": "two"}, spec={"trigger": {"topic": "other", "partitions": 3}})
    assert [app.spec.trigger.topic for app in parse_apps(to_yaml([one, two]), "f", "eu")] == ["x", "other"]
    clash = document() | {"profiles": {"eu": {"spec": {"trigger": {"topic": "other"}}}}}
    assert len(parse_apps(to_yaml([clash, two]), "f")) == 2
    with pytest.raises(ConfigurationError) as caught:
        parse_apps(to_yaml([clash, two]), "f", "eu")
    assert "profile eu: app two: spec.trigger.partitions: 3" in caught.value.problems[0]


@pytest.mark.parametrize("name", ["Prod", "a b", "-a", ""])
def test_a_profiles_name_can_be_a_folders(document: MakeDocument, name: str) -> None:
    """Overlays are folders named by it."""
    with pytest.raises(ConfigurationError, match="1 mistake"):
        parse_apps(to_yaml([document() | {"profiles": {name: {}}}]), "f")


@pytest.mark.parametrize("profile", ["dev", "gpu", "prod"])
def test_a_profile_twice_is_a_profile_once(pictures: Path, profile: str) -> None:
    """What is on is on."""
    (once,) = load_apps(pictures, profile)
    assert with_profile(once, profile) == once
