"""All concerns together: off until asked for, valid when on, and each with its line in the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import kubernetes_validate
import pytest

from headrace.errors import ConfigurationError
from headrace.manifests.concerns.every import ADDITIONS, PRODUCTION
from headrace.manifests.loading import parse_apps
from headrace.manifests.options import RenderOptions
from headrace.manifests.parts.prod import PROD
from headrace.manifests.rendering import CONCERNS, render
from headrace.manifests.spec import AppSpec
from headrace.manifests.yaml_text import to_yaml

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.resource import Resource
    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]
    Render = Callable[..., list[Resource]]

ROOT = Path(__file__).parents[3]
SCHEMAS = ROOT.parent / "shared/schemas"
LIST = ROOT / "docs/laundry-list.md"
needs_schemas = pytest.mark.skipif(not SCHEMAS.is_dir(), reason="the schemas of the custom resources are not here")
CLUSTER_WIDE = {"ClusterDomainClaim", "ClusterRole", "ClusterRoleBinding", "Namespace", "PriorityClass"}
FULL: dict[str, Any] = {
    "access": {"deployers": [{"name": "ops"}], "viewers": [{"kind": "ServiceAccount", "name": "ci"}]},
    "network": {"egress": [{"cidr": "10.0.0.0/8", "port": 6379}]},
    "domain": {"host": "pictures.example.com", "certificate": "issuer", "issuer": "letsencrypt"},
    "mesh": {"jwt": {"issuer": "https://id.example.com"}},
    "protection": {"waf": {"plugin": "oci://registry.example.com/coraza:1"}},
    "tracing": {"sampling": 0.5, "collector": {"export": "http://tempo.tools.svc:4318"}},
    "metrics": {"labels": {"release": "prometheus"}},
    "logging": {"level": "warning"},
    "rollout": {"canary": 10, "duration": "5m", "tags": True},
    "disruption": {"models": True},
    "cost": {"team": "vision", "env": "prod"},
    "isolation": {},
    "quota": {"gpu": 2},
}

BESIDE = {**FULL, "transformer": {"collocated": True, "scale": None}}


def test_nothing_is_rendered_that_nobody_asked_for(plain: MakeApp) -> None:
    """An app of twenty lines stays what it was; only the rights that no model needs are taken from it always."""
    app = plain()
    for name, concern in PRODUCTION.items():
        assert concern(app, RenderOptions()) == [], name
    for name, addition in ADDITIONS.items():
        if name == "isolation":
            continue
        for role in ("dispatcher", "predictor", "transformer"):
            found = addition(app, RenderOptions(), role)
            assert not any([found.labels, found.annotations, found.env, found.spec, found.container, found.ports]), name


def test_the_profile_turns_on_every_concern_that_needs_no_name(prod: MakeApp) -> None:
    """Production is one word; only the domain, whose name nobody can guess, and the costs' labels are left to say."""
    concerned = {"access", "mesh", "network", "protection", "tracing", "metrics", "logging", "rollout", "disruption"}
    assert set(PROD["spec"]) == {*concerned, "isolation", "quota"}
    app = prod()
    assert all(getattr(app.spec, name) is not None for name in PROD["spec"])
    assert set(FULL) - set(PROD["spec"]) == {"domain", "cost"}
    assert set(FULL) <= set(AppSpec.model_fields)


def test_the_profile_leaves_what_the_app_says(plain: MakeApp) -> None:
    """It holds empty mappings alone: laid over an app they turn a concern on and change no word of it."""
    assert all(value == {} for value in PROD["spec"].values())


@pytest.mark.parametrize("spec", [FULL, {**FULL, "transformer": None}, {**FULL, "results": None}])
def test_every_resource_can_be_told_whose_it_is(prod: MakeApp, resources: Render, spec: dict[str, Any]) -> None:
    """Labelled, in a namespace unless its kind has none, and once only."""
    found = resources(prod(**spec))
    for each in found:
        about = each["metadata"]
        assert about["labels"]["app.kubernetes.io/managed-by"] == "headrace"
        assert about["labels"]["app.kubernetes.io/part-of"] == "headrace"
        assert about["labels"]["app.kubernetes.io/component"]
        assert ("namespace" in about) is (each["kind"] not in CLUSTER_WIDE), each["kind"]
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", about["name"])
    places = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in found]
    assert len(places) == len(set(places))


def test_rendering_has_no_state(prod: MakeApp, resources: Render) -> None:
    """Rendered twice, the text is the same to the byte, whatever was done to the first."""
    app = prod(**FULL)
    first = resources(app)
    text = to_yaml(first)
    for each in first:
        each["metadata"]["labels"].clear()
        each.get("spec", {}).clear()
    assert to_yaml(resources(app)) == text


def test_long_names_stay_legal(app_of: MakeApp) -> None:
    """The longest app in the longest namespace still has names that a cluster takes, and label values of 63 at most."""
    app = app_of(metadata={"name": "a" * 48, "namespace": "n" * 63}, spec=FULL)
    for each in render(app):
        longest = 63 if each["kind"] in {"Service", "Namespace"} else 253
        assert len(each["metadata"]["name"]) <= longest, each["metadata"]["name"]
        assert all(len(value) <= 63 for value in each["metadata"]["labels"].values())


@needs_schemas
@pytest.mark.parametrize(
    "spec",
    [
        {}, FULL, {**FULL, "transformer": None}, {"domain": {"host": "a.example.com"}},
        {**FULL, "trigger": {"delivery": "knative-broker"}}, BESIDE,
        {"tracing": {"endpoint": "https://otel.example.com"}, "mesh": None, "metrics": {}},
        {"domain": {"host": "a.example.com", "certificate": "secret", "secret": "tls"}, "predictor": {"model": "s3://a/b"}},
    ],
)  # fmt: skip
def test_a_cluster_takes_every_custom_resource(prod: MakeApp, resources: Render, spec: dict[str, Any]) -> None:
    """Against the schemas of Istio, Knative, KServe, KEDA, Strimzi and prometheus-operator, strictly."""
    checked = set()
    for each in resources(prod(**spec)):
        path = SCHEMAS / f"{each['apiVersion'].replace('/', '_')}_{each['kind']}.json"
        if path.is_file():
            jsonschema.Draft202012Validator(json.loads(path.read_text())).validate(each)
            checked.add(each["kind"])
    assert {"InferenceService", "PrometheusRule", "PodMonitor"} <= checked


WRONG = """
apiVersion: headrace.dev/v1alpha1
kind: InferenceApp
metadata: {name: a}
spec:
  predictor: {class: "a:B"}
  trigger: {topic: t}
  networ: {}
  access: {deployers: [{kind: Groups, nam: x}]}
  network: true
  domain: {host: Foo}
  tracing: {sampling: 3}
  metrics: {alerts: {objective: 1}}
  quota: {}
  cost: {team: a b}
"""


WORD = "a label's value has letters, digits, '.', '_' and '-', 63 at most, and none of '._-' at its ends"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (8, "networ: unknown key; did you mean network?"),
        (9, "access.deployers.0.kind: 'Groups': must be User or Group or ServiceAccount; did you mean Group?"),
        (9, "access.deployers.0.nam: unknown key; did you mean name?"),
        (9, "access.deployers.0.name: is missing (The name, as the cluster's authentication knows it)"),
        (10, "network: true: must be a mapping (KEY: VALUE lines)"),
        (11, "domain.host: 'Foo': write a public host name in lower case, as pictures.example.com"),
        (12, "tracing.sampling: 3: must be 1.0 or less"),
        (13, "metrics.alerts.objective: 1: must be 0.9999 or less"),
        (14, "quota: a mapping: a quota bounds the whole namespace, which others may use; add isolation: {}"),
        (15, f"cost.team: 'a b': {WORD}"),
    ],
)
def test_mistakes_are_told_with_place_and_remedy(line: int, said: str) -> None:
    """All in one pass, also those within lists."""
    with pytest.raises(ConfigurationError) as raised:
        parse_apps(WRONG, "f")
    assert f"f:{line}: app a: spec.{said}" in raised.value.problems
    assert len(raised.value.problems) == 10


@pytest.mark.parametrize("version", ["1.32", "1.36"])
def test_a_cluster_takes_every_core_resource(prod: MakeApp, resources: Render, version: str) -> None:
    """Of the oldest and the newest Kubernetes supported, strictly."""
    checked = set()
    for each in resources(prod(**FULL)):
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            continue
        checked.add(each["kind"])
    assert {"NetworkPolicy", "ResourceQuota", "PodDisruptionBudget", "Role", "Deployment"} <= checked


def test_the_laundry_list_names_every_concern_and_its_test() -> None:
    """Each renderer has its line, and each file that the list names is there."""
    text = LIST.read_text()
    for concern in (*CONCERNS, *ADDITIONS):
        assert f"`{concern}`" in text, concern
    tests = set(re.findall(r"`((?:concerns/)?test_\w+\.py)`", text))
    renderers = set(re.findall(r"`((?:concerns/)?[a-z]\w+\.py)`", text)) - tests
    assert len(tests) > 5
    assert len(renderers) > 15
    assert not [path for path in tests if not (ROOT / "tests/manifests" / path).is_file()]
    assert not [path for path in renderers if not (ROOT / "manifests/headrace/manifests" / path).is_file()]
