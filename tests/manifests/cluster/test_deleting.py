"""Deleting an app: backwards, waited for, and nothing of others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from headrace.manifests.cluster.deleting import delete
from headrace.manifests.cluster.history import History
from headrace.manifests.cluster.plan import plan_of
from headrace.manifests.cluster.refusals import RefusedError
from headrace.manifests.cluster.waiting import NotReadyError
from headrace.manifests.options import RenderOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.cluster.deploying import Deployed
    from headrace.manifests.cluster.progress import Step
    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]
    Deploy = Callable[..., Deployed]

FULL = {"access": {}, "network": {}, "isolation": {}, "quota": {}, "results": {"topic": "answers"}}


def deleted(cluster: Any, app: InferenceApp, **options: Any) -> list[Step]:
    """Delete the app."""
    plan = plan_of([app], RenderOptions())
    found: list[Step] = cluster.run(lambda api: delete(api, plan, **{"timeout": 60.0, **options}))
    return found


def left(cluster: Any) -> set[str]:
    """Kinds of all that is there."""
    return {each.kind for each in cluster.call(cluster.store.references)}


def test_all_of_the_app_goes_but_its_topics_and_what_is_shared(
    cluster: Any, app_of: MakeApp, deploy_app: Deploy
) -> None:
    """Events stay, and so does the namespace with its bounds."""
    app = app_of(metadata={"namespace": "lab"}, spec=FULL)
    deploy_app(cluster, app)
    steps = deleted(cluster, app)
    assert left(cluster) == {"KafkaTopic", "LimitRange", "Namespace", "NetworkPolicy", "ResourceQuota"}
    assert {each.reference.kind for each in steps if each.what == "kept"} == {"KafkaTopic"}
    kinds = [each.reference.kind for each in steps if each.what == "deleted"]
    assert kinds.index("ScaledObject") < kinds.index("Deployment") < kinds.index("InferenceService")
    assert kinds.index("InferenceService") < kinds.index("NetworkPolicy") < kinds.index("ConfigMap")
    assert deleted(cluster, app) == [step for step in steps if step.what == "kept"]


def test_topics_go_when_asked_for(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """With the events in them, also those that an earlier deploy made."""
    deploy_app(memory, app_of(spec={"results": {"topic": "answers"}}))
    deploy_app(memory, app_of())
    deleted(memory, app_of(), topics=True)
    assert left(memory) == {"Namespace"}


def test_what_an_earlier_deploy_made_goes_too(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """The file may say less by now than what is in the cluster."""
    deploy_app(memory, app_of(spec={"access": {}}))
    deleted(memory, app_of())
    assert left(memory) == {"KafkaTopic", "Namespace"}


def test_an_app_that_was_applied_by_hand_goes_too(memory: Any, app_of: MakeApp) -> None:
    """No record of it is needed; its labels say whose it is."""
    for each in plan_of([app_of()], RenderOptions()).resources:
        memory.store.apply(each, "kubectl")
    deleted(memory, app_of())
    assert left(memory) == {"KafkaTopic", "Namespace"}


def test_it_waits_until_all_is_gone(cluster: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """What brings events is gone before the models are touched; the next call goes on where one stopped."""
    deploy_app(cluster, app_of())

    def hold() -> None:
        live = cluster.store.get("ScaledObject", "echo-dispatcher", "default")
        live["metadata"]["finalizers"] = ["finalizer.keda.sh"]
        cluster.store.put(live)

    cluster.call(hold)
    with pytest.raises(NotReadyError, match=r"ScaledObject default/echo-dispatcher: held by finalizer\.keda\.sh"):
        deleted(cluster, app_of(), timeout=0.1)
    assert {"InferenceService", "Deployment"} <= left(cluster)
    assert cluster.run(lambda api: History(api, "echo", "default").revisions())

    async def go_on(api: Any) -> list[Step]:
        goes = asyncio.ensure_future(delete(api, plan_of([app_of()], RenderOptions()), timeout=60))
        cluster.call(lambda: cluster.store.release("ScaledObject", "echo-dispatcher", "default"))
        return await goes

    cluster.run(go_on)
    assert left(cluster) == {"KafkaTopic", "Namespace"}


def test_not_waiting_is_possible(cluster: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """What a finalizer holds then goes by itself, later."""
    deploy_app(cluster, app_of())
    steps = deleted(cluster, app_of(), timeout=0.0)
    assert {each.what for each in steps} == {"deleted", "kept"}
    assert left(cluster) == {"KafkaTopic", "Namespace"}


def test_what_may_not_be_deleted_is_told(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """The records stay, so that the next call knows what is left."""
    deploy_app(memory, app_of())
    memory.store.forbidden.append(lambda access: (access.verb, access.plural) == ("delete", "inferenceservices"))
    with pytest.raises(RefusedError, match='cannot delete resource "inferenceservices"'):
        deleted(memory, app_of())
    assert "ConfigMap" in left(memory)
