"""Whatever the spec allows can be deployed, deployed again, and deleted."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings

from headrace.manifests.cluster.deleting import delete
from headrace.manifests.cluster.deploying import DeployOptions, deploy
from headrace.manifests.cluster.doctor.examine import examine
from headrace.manifests.cluster.plan import plan_of
from headrace.manifests.options import RenderOptions
from headrace.manifests.spec import InferenceApp
from headrace.testing.cluster.controllers import Controllers
from headrace.testing.cluster.memory import MemoryCluster
from headrace.testing.cluster.store import ClusterStore

from ..specs import documents  # noqa: TID252  # tests/ is no package, so only a relative name finds it

OPTIONS = RenderOptions(image="registry.lab/headrace:1")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(document=documents())
def test_an_app_comes_stays_and_goes(document: dict[str, Any]) -> None:
    """Every kind is known and has its place; the second deploy changes nothing; what is left at the end is shared."""
    app = InferenceApp.model_validate(document)
    plan = plan_of([app], OPTIONS)
    namespaces = {each["metadata"].get("namespace", "default") for each in plan.resources} - plan.namespaces
    store = ClusterStore(namespaces=tuple(sorted(namespaces)))
    Controllers(store)
    api = MemoryCluster(store)

    async def live() -> None:
        findings = await examine(api, plan, [app], OPTIONS)
        assert {each.about for each in findings if each.level == "error"} <= {"kafka", "gpus", "model cache"}
        options = DeployOptions(timeout=60, settle=5)
        assert (await deploy(api, plan, options)).changed
        clock = store.clock
        assert not (await deploy(api, plan, options)).changed
        assert store.clock == clock
        await delete(api, plan, topics=True, timeout=60)

    asyncio.run(live())
    shared = {(each["kind"], each["metadata"]["name"]) for each in plan.shared}
    left = {(each.kind, each.name) for each in store.references()}
    assert left == shared | {("Namespace", name) for name in namespaces}
