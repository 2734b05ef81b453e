"""What the rules do beyond the broken manifests: no false findings, no crash, and agreement with the schemas."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.manifests.document import Document
from headrace.manifests.lint.annotation_values import KNOWN, VALUES
from headrace.manifests.lint.durations import go_seconds, iso_seconds
from headrace.manifests.lint.engine import findings, lint
from headrace.manifests.lint.manifest import Manifest
from headrace.manifests.lint.pods import pods
from headrace.manifests.lint.rules.delivery import cesql_fault
from headrace.manifests.lint.rules.restricted import restricted_faults
from headrace.manifests.lint.rules.schema import faults_of
from headrace.manifests.loading import load_apps
from headrace.manifests.options import RenderOptions
from headrace.manifests.profiles import with_profile
from headrace.manifests.rendering import render_all
from headrace.manifests.spec import InferenceApp

from ..specs import documents  # noqa: TID252  # tests are no package with a name to import from

ROOT = Path(__file__).parents[3]
BROKEN = sorted((Path(__file__).parent / "broken").glob("*.yaml"))
SCHEMAS = ROOT.parent / "shared/schemas"
PROFILES = (None, "dev", "gpu", "prod")
EXAMPLES = sorted(ROOT.glob("examples/*/headrace.yaml"))
COMPACT = ROOT / "manifests/headrace/manifests/lint/schemas"


def manifest(body: dict[str, Any]) -> Manifest:
    """A resource as if read from a file."""
    return Manifest("a.yaml", "", Document(1, body, {}), (), body)


def rules_of(body: dict[str, Any]) -> set[str]:
    """The rules that a resource breaks."""
    return {each.rule for each in findings([manifest(body)])}


@lru_cache
def rendered(file: Path, profile: str | None) -> list[dict[str, Any]]:
    """What an example renders under a profile, with an image as a person names one."""
    return render_all(load_apps(file, profile), RenderOptions(image="registry.example.com/headrace:0.1.0"))


@lru_cache
def full_schema(name: str) -> Any:
    """The validator of a custom resource's full schema."""
    return jsonschema.Draft202012Validator(json.loads((SCHEMAS / name).read_text()))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("file", EXAMPLES, ids=[file.parent.name for file in EXAMPLES])
def test_what_headrace_renders_has_no_error(file: Path, profile: str | None) -> None:
    """Our own manifests keep our own rules; the one warning left is of flags that an administrator sets."""
    found = list(findings([manifest(each) for each in rendered(file, profile)]))
    assert not [each for each in found if each.severity == "error"]
    assert {each.rule for each in found} <= {"knative/feature-flag"}


def test_what_headrace_renders_for_production_keeps_pod_security_restricted() -> None:
    """Every pod of ours would run where the namespace enforces `restricted`."""
    seen = 0
    for file in EXAMPLES:
        resources = rendered(file, "prod")
        enforced = {each["metadata"]["name"] for each in resources if each["kind"] == "Namespace"}
        for each in (each for each in resources if each["metadata"].get("namespace") in enforced):
            for pod in pods(manifest(each)):
                seen += 1
                assert not list(restricted_faults(pod)), each["metadata"]["name"]
    assert seen >= 2


def test_the_committed_kustomize_folders_have_no_finding() -> None:
    """What people copy from the repository is right."""
    assert not lint([str(ROOT / "manifests/kustomize"), str(ROOT / "examples")]).errors


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a value."""
    found = [path]
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in pairs:
        found += places(each, (*path, key))
    return found


def changed(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The body with another value at one place."""
    body = copy.deepcopy(body)
    inner: Any = body
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return body


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False), st.text(max_size=5), st.just([]),
    st.just({}), st.just([None]), st.just({"a": [1]}), st.just([{"name": 1}, []]),
)  # fmt: skip
ALL_BODIES = [
    body
    for file in BROKEN
    if not file.stem.startswith(("yaml-", "app-"))
    for body in yaml.safe_load_all(file.read_text(encoding="utf-8"))
]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_manifest_makes_a_rule_crash(data: st.DataObject) -> None:
    """Anything may stand anywhere in a manifest under test: a linter that dies tells nothing."""
    body = data.draw(st.sampled_from(ALL_BODIES))
    for _ in range(2):
        path = data.draw(st.sampled_from([place for place in places(body) if place]))
        body = changed(body, path, data.draw(ODD))
    list(findings([manifest(body), manifest(data.draw(st.sampled_from(ALL_BODIES)))]))


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="the schemas of the custom resources are not here")
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_the_compact_schemas_say_what_the_full_ones_say(data: st.DataObject) -> None:
    """Of a custom resource changed in one place both find a fault, or none."""
    app = InferenceApp.model_validate(data.draw(documents()))
    found = render_all([with_profile(app, data.draw(st.sampled_from(["gpu", "prod"])))])
    body = data.draw(st.sampled_from([each for each in found if (SCHEMAS / schema_name(each)).exists()]))
    inside = [place for place in places(body) if place and place[0] == "spec"]
    body = changed(body, data.draw(st.sampled_from(inside)), data.draw(ODD.filter(lambda value: value is not None)))
    if "null" in json.dumps(body):
        return  # Kubernetes drops a null, JSON Schema does not
    theirs = not full_schema(schema_name(body)).is_valid(body)
    assert bool(faults_of(manifest(body))) == theirs


def schema_name(body: dict[str, Any]) -> str:
    """The file with the resource's full schema."""
    return f"{body['apiVersion'].replace('/', '_')}_{body['kind']}.json"


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="the schemas of the custom resources are not here")
def test_the_compact_schemas_are_fresh(tmp_path: Path) -> None:
    """The script writes exactly the committed files."""
    text = (ROOT / "scripts/lint_schemas.py").read_text(encoding="utf-8")
    script = tmp_path / "scripts/lint_schemas.py"
    target = tmp_path / "manifests/headrace/manifests/lint/schemas"
    script.parent.mkdir()
    target.mkdir(parents=True)
    script.write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, str(script), str(SCHEMAS)], check=True, timeout=60)
    fresh = {file.name: file.read_bytes() for file in target.iterdir()}
    assert fresh == {file.name: file.read_bytes() for file in COMPACT.iterdir() if file.name != "core.json"}


def test_the_compact_schemas_hold_facts_and_no_sentences() -> None:
    """Names, types, bounds: small enough for the wheel, and nobody's prose."""
    assert sum(file.stat().st_size for file in COMPACT.iterdir()) < 500_000
    assert not [file.name for file in COMPACT.iterdir() if '"description":"' in file.read_text(encoding="utf-8")]


DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {
        "selector": {"matchLabels": {"app": "d"}},
        "template": {
            "metadata": {"labels": {"app": "d"}},
            "spec": {"containers": [{"name": "d", "image": "registry.example.com:5000/d:1.0"}]},
        },
    },
}


@pytest.mark.parametrize(
    "container",
    [
        {"image": "registry.example.com:5000/d@sha256:" + "0" * 64},
        {"env": [{"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]},
        {"env": [{"name": "DB_PASSWORD_FILE", "value": "/secrets/a"}, {"name": "TOKEN_LIMIT", "value": "many"}]},
        {"resources": {"limits": {"nvidia.com/mig-1g.5gb": 1, "memory": "4Gi"}}},
        {"resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": 1, "memory": "1e9"}}},
        {"ports": [{"containerPort": 80, "name": "web"}, {"containerPort": 81}]},
        {"livenessProbe": {"httpGet": {"port": "web"}}},
        {"livenessProbe": {"httpGet": {"port": 8080, "path": None}}},
    ],
)
def test_what_is_right_has_no_finding(container: dict[str, Any]) -> None:
    """A linter with false findings is switched off."""
    body = copy.deepcopy(DEPLOYMENT)
    body["spec"]["template"]["spec"]["containers"][0].update(container)
    assert not rules_of(body)


def test_a_value_that_no_file_breaks() -> None:
    """The rules that need a large or odd manifest."""
    assert rules_of(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "x" * 2**21}}
    ) == {"resource/size"}
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "a"},
        "spec": {
            "predictor": {
                "volumes": [{"name": "a", "nfs": {"server": "s", "path": "/"}}],
                "containers": [{"image": "registry.example.com/a:1"}],
            }
        },
    }
    assert "knative/volume" in rules_of(service)


def test_a_flag_is_not_asked_for_where_a_config_map_sets_it() -> None:
    """Whoever brings the setting along is not warned of it."""
    file = next(file for file in BROKEN if file.stem == "kserve-gpu-nodes")
    service = manifest(yaml.safe_load(file.read_text()))
    settings_of = {"kubernetes.podspec-nodeselector": "enabled"}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config-features"}, "data": settings_of}
    assert [each.rule for each in findings([service])] == ["knative/feature-flag"]
    assert not list(findings([service, manifest(config)]))


def test_near_names_are_offered() -> None:
    """The likeliest slip is told with its correction."""
    body = copy.deepcopy(DEPLOYMENT)
    body["spec"]["template"]["spec"]["container"] = body["spec"]["template"]["spec"].pop("containers")
    (only,) = findings([manifest(body)])
    assert (only.path, only.remedy) == ("spec.template.spec.container", "did you mean containers?")


def test_known_annotations_are_not_misspelt_ones_of_others() -> None:
    """Every name that is known passes, in every group, and so do groups that are not Knative's."""
    for group, names in KNOWN.items():
        for name in names:
            body = {**DEPLOYMENT, "metadata": {"name": "d", "annotations": {f"{group}/{name}": "x"}}}
            assert "annotation/misspelt" not in rules_of(body), name
    for other in ("example.com/min-scale", "sidecar.istio.io/inject", "prometheus.io/port", "checksum/config"):
        assert not rules_of({**DEPLOYMENT, "metadata": {"name": "d", "annotations": {other: "x"}}})


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("autoscaling.knative.dev/window", ("6s", "1m30s", "1h"), ("5s", "2h", "60", "1.5s", "PT1M", "")),
        ("autoscaling.knative.dev/target", ("0.01", "200"), ("0", "-1", "many", "1e3")),
        ("autoscaling.knative.dev/targetBurstCapacity", ("-1", "0", "211"), ("-2", "x")),
        ("autoscaling.knative.dev/activation-scale", ("2", "5"), ("1", "0")),
        ("autoscaling.knative.dev/class", ("hpa.autoscaling.knative.dev", "mine.example.com"), ("kpa", "hpa")),
        ("serving.knative.dev/progress-deadline", ("600s", "10m"), ("0s", "500ms")),
        ("kafka.eventing.knative.dev/delivery.order", ("ordered", "unordered"), ("Ordered", "key")),
        ("autoscaling.eventing.knative.dev/lag-threshold", ("1", "100"), ("0", "x")),
        ("queue.sidecar.serving.knative.dev/memory-resource-limit", ("64Mi", "1G"), ("64MB", "")),
    ],
)
def test_values_of_annotations(name: str, good: tuple[str, ...], bad: tuple[str, ...]) -> None:
    """The bounds are Knative's own."""
    assert not [value for value in good if VALUES[name](value)]
    assert not [value for value in bad if not VALUES[name](value)]


def test_durations() -> None:
    """Go's and ISO 8601's are not mixed up."""
    assert [go_seconds(text) for text in ("1h30m", "1.5s", "0", "100ms")] == [5400, 1.5, 0, 0.1]
    assert not [text for text in ("5", "PT5S", "s", "5 s", 5, None, "") if go_seconds(text) is not None]
    assert [iso_seconds(text) for text in ("PT5S", "PT0.2S", "P1DT2H", "PT1H30M")] == [5, 0.2, 93_600, 5400]
    assert not [text for text in ("P", "PT", "5s", "PT5", "P1Y", "T5S", 5, "P1DT") if iso_seconds(text) is not None]


def test_expressions() -> None:
    """What CESQL allows passes; what other languages write does not."""
    right = ("type = 'a'", "type LIKE 'a%' AND EXISTS subject", "(a = 'it\\'s') OR b IN (1, 2)", "NOT a", "a = '=='")
    assert not [text for text in right if cesql_fault(text)]
    wrong = ("", "type == 'a'", "a && b", "a || b", "type = 'a", "(a = 1", "a = 1)", "a =", ")(")
    assert not [text for text in wrong if not cesql_fault(text)]
