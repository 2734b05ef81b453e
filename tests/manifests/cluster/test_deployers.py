"""An administrator deploys an app once; its deployers, who have what its roles give and no more, go on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headrace.manifests.cluster.deleting import delete
from headrace.manifests.cluster.deploying import DeployOptions, deploy
from headrace.manifests.cluster.doctor.examine import errors, examine
from headrace.manifests.cluster.plan import plan_of
from headrace.manifests.cluster.refusals import RefusedError
from headrace.manifests.options import RenderOptions
from headrace.testing.cluster.rbac import only_by_roles

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.cluster.deploying import Deployed
    from headrace.manifests.cluster.doctor.finding import Finding
    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]
    Deploy = Callable[..., Deployed]

OPTIONS = RenderOptions(image="registry.lab/headrace:1")
ALL: dict[str, Any] = {
    "access": {"deployers": [{"name": "ops"}]},
    "isolation": {},
    "quota": {"memory": "4096Mi"},
    "disruption": {},
    "network": {},
    "mesh": {"jwt": {"issuer": "https://id.example.com"}},
    "domain": {"host": "words.example.com"},
    "protection": {},
    "results": {"topic": "answers"},
}


@pytest.fixture
def handed_over(cluster: Any, app_of: MakeApp, deploy_app: Deploy) -> Any:
    """A cluster in which an administrator has deployed the app, and only the group `ops` is let in from then on."""

    def furnish() -> None:
        cluster.store.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}})
        about = {"name": "kafka", "namespace": "kafka"}
        cluster.store.put({"apiVersion": "kafka.strimzi.io/v1", "kind": "Kafka", "metadata": about, "spec": {}})

    cluster.call(furnish)
    deploy_app(cluster, app(app_of))
    cluster.call(lambda: cluster.store.forbidden.append(only_by_roles(cluster.store, "ops")))
    return cluster


def app(app_of: MakeApp, **spec: Any) -> InferenceApp:
    """The app with every kind of bound."""
    return app_of(metadata={"namespace": "lab"}, spec={**ALL, **spec})


def found(cluster: Any, one: InferenceApp) -> list[Finding]:
    """What the doctor says."""
    findings: list[Finding] = cluster.run(lambda api: examine(api, plan_of([one], OPTIONS), [one], OPTIONS))
    return findings


def test_the_doctor_is_content(handed_over: Any, app_of: MakeApp) -> None:
    """Also of namespace, roles, quota and gateway, which a deployer may not write: they are as they are to be."""
    findings = found(handed_over, app(app_of, predictor={"env": {"A": "1"}}))
    assert not errors(findings)
    (rights,) = [each for each in findings if each.about == "rights"]
    assert "an administrator holds" in rights.message
    assert {"Namespace", "Role", "RoleBinding", "ResourceQuota", "EnvoyFilter", "PriorityClass"} <= {
        word.strip(",") for word in rights.message.split()
    }


def test_a_change_of_the_app_is_deployed(handed_over: Any, app_of: MakeApp) -> None:
    """And only what changes is written."""
    plan = plan_of([app(app_of, predictor={"env": {"A": "1"}})], OPTIONS)
    done = handed_over.run(lambda api: deploy(api, plan, DeployOptions(timeout=60.0, settle=0.05)))
    assert done.revisions == {"echo": 2}
    changed = {step.reference.kind for step in done.steps if step.what == "changed"}
    assert "InferenceService" in changed
    assert changed <= {"InferenceService", "ConfigMap", "Deployment"}


def test_a_change_of_a_bound_is_an_administrators(handed_over: Any, app_of: MakeApp) -> None:
    """The doctor says so, and so does a deploy that does not ask it; nothing is changed."""
    wider = app(app_of, quota={"memory": "8Gi"})
    (error,) = errors(found(handed_over, wider))
    assert error.message == "you may not get, create, patch, delete ResourceQuota in namespace lab"
    assert "let an administrator deploy this once" in error.fix
    before = handed_over.call(lambda: handed_over.store.clock)
    with pytest.raises(RefusedError, match=r"ResourceQuota lab/headrace: .* cannot patch .*let an administrator"):
        handed_over.run(lambda api: deploy(api, plan_of([wider], OPTIONS)))
    assert handed_over.call(lambda: handed_over.store.clock) == before


def test_a_stranger_may_nothing(handed_over: Any, app_of: MakeApp) -> None:
    """Who has no role learns of every namespace what is missing."""
    handed_over.call(lambda: handed_over.store.forbidden.append(only_by_roles(handed_over.store, "others")))
    told = [each.message for each in errors(found(handed_over, app(app_of)))]
    assert any("InferenceService" in each and "in namespace lab" in each for each in told)
    assert any("PriorityClass" in each and "in the whole cluster" in each for each in told)


def test_what_a_deployer_may_not_delete_stays_and_is_told(handed_over: Any, app_of: MakeApp) -> None:
    """All that brings and answers events is gone by then."""
    plan = plan_of([app(app_of)], OPTIONS)
    with pytest.raises(RefusedError, match="forbidden"):
        handed_over.run(lambda api: delete(api, plan, timeout=60))
    left = {each.kind for each in handed_over.call(handed_over.store.references)}
    assert "InferenceService" not in left
    assert "Role" in left
