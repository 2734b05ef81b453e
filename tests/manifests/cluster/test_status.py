"""How apps stand in a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.manifests.cluster.plan import plan_of
from headrace.manifests.cluster.status import cluster_status
from headrace.manifests.options import RenderOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.cluster.deploying import Deployed
    from headrace.manifests.cluster.status import AppStatus
    from headrace.manifests.spec import InferenceApp


def status(cluster: Any, app: InferenceApp) -> AppStatus:
    """Of one app."""
    found: list[AppStatus] = cluster.run(lambda api: cluster_status(api, plan_of([app], RenderOptions())))
    return found[0]


def test_a_deployed_app_is_ready_at_an_address(
    cluster: Any, app_of: Callable[..., InferenceApp], deploy_app: Callable[..., Deployed]
) -> None:
    """Its revision, and each resource that it waits for."""
    deploy_app(cluster, app_of())
    found = status(cluster, app_of())
    assert (found.ready, found.revision, found.revision_state) == (True, 1, "deployed")
    details = {each.reference.kind: each.detail for each in found.resources}
    assert details["InferenceService"] == "http://echo.default.example.com"
    assert details["Deployment"] == "1 of 1 replicas"
    assert found.to_json()["ready"] is True


def test_an_app_that_is_not_there_is_not_ready(cluster: Any, app_of: Callable[..., InferenceApp]) -> None:
    """And no error."""
    found = status(cluster, app_of())
    assert (found.ready, found.revision) == (False, 0)
    assert {each.reason for each in found.resources} == {"it is not there"}


def test_what_may_not_be_read_is_unknown(
    memory: Any, app_of: Callable[..., InferenceApp], deploy_app: Callable[..., Deployed]
) -> None:
    """The others are told all the same."""
    deploy_app(memory, app_of())
    memory.store.forbidden.append(lambda access: access.plural == "kafkatopics")
    states = {each.reference.kind: each.state for each in status(memory, app_of()).resources}
    assert states["KafkaTopic"] == "unknown"
    assert states["InferenceService"] == "ready"
