"""Waiting: whatever ends a watch, nothing is missed, and nothing is waited for in vain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from headrace.errors import UnavailableError
from headrace.manifests.cluster import waiting
from headrace.manifests.cluster.progress import Step, silently
from headrace.manifests.cluster.reference import Reference
from headrace.manifests.cluster.refusals import RefusedError
from headrace.manifests.cluster.waiting import NotReadyError, wait_gone, wait_ready
from headrace.testing.cluster.memory import MemoryCluster

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from headrace.manifests.cluster.api import Change, ClusterApi, Listing, Query

MODEL = Reference("serving.kserve.io/v1beta1", "InferenceService", "default", "m")


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch is taken up again sooner than in a cluster."""
    monkeypatch.setattr(waiting, "_PAUSE", 0.02)


def model() -> dict[str, Any]:
    """An InferenceService that Headrace made."""
    labels = {"app.kubernetes.io/managed-by": "headrace"}
    about = {"name": "m", "namespace": "default", "labels": labels}
    return {"apiVersion": MODEL.api_version, "kind": MODEL.kind, "metadata": about, "spec": {"predictor": {}}}


def set_ready(cluster: Any, status: str, reason: str = "") -> None:
    """Its Ready condition."""
    live = cluster.store.get("InferenceService", "m", "default")
    conditions = [{"type": "Ready", "status": status, "reason": reason}]
    generation = live["metadata"]["generation"]
    cluster.store.set_status("InferenceService", "m", "default", observedGeneration=generation, conditions=conditions)


def wait(
    cluster: Any,
    *,
    timeout: float = 60.0,
    settle: float = 60.0,
    changed: list[Reference] | None = None,
    meanwhile: Any = None,
) -> list[Step]:
    """The steps told until the model is ready."""
    steps: list[Step] = []

    async def run(api: ClusterApi) -> None:
        waits = asyncio.ensure_future(
            wait_ready(api, [MODEL], timeout=timeout, settle=settle, report=steps.append, changed=changed or []),
        )
        if meanwhile:
            await meanwhile(steps)
        await waits

    cluster.run(run)
    return steps


async def until(true: Callable[[], object]) -> None:
    """Return when it is so."""
    while not true():  # noqa: ASYNC110  # a poll with the test's own time limit
        await asyncio.sleep(0.01)


def test_it_returns_when_all_are_ready(cluster: Any) -> None:
    """Telling on the way what each waits for."""
    cluster.call(lambda: cluster.controllers.ignore("InferenceService"))
    cluster.call(lambda: cluster.store.put(model()))

    async def act(steps: list[Step]) -> None:
        await until(lambda: steps)
        cluster.call(lambda: set_ready(cluster, "Unknown", "Deploying"))
        await until(lambda: steps[-1].detail == "Deploying")
        cluster.call(lambda: set_ready(cluster, "True"))

    steps = wait(cluster, meanwhile=act)
    assert [step.what for step in steps] == ["waiting", "waiting", "ready"]


def test_the_ready_of_before_a_change_is_not_believed(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """KServe's status does not say which generation it is of; when it was seen to react, its next Ready counts."""
    monkeypatch.setattr(waiting, "_CALM", 1000.0)
    cluster.call(lambda: cluster.controllers.ignore("InferenceService"))
    cluster.call(lambda: cluster.store.put(model()))
    cluster.call(lambda: set_ready(cluster, "True"))

    async def act(steps: list[Step]) -> None:
        await until(lambda: steps and steps[-1].detail == "it was ready before the change too")
        cluster.call(lambda: set_ready(cluster, "Unknown", "Deploying"))
        await until(lambda: steps[-1].detail == "Deploying")
        cluster.call(lambda: set_ready(cluster, "True"))

    assert [step.what for step in wait(cluster, changed=[MODEL], meanwhile=act)] == ["waiting", "waiting", "ready"]


def test_what_stays_ready_after_a_change_is_believed(cluster: Any) -> None:
    """A change that makes no new revision never shows: after a while all is well."""
    cluster.call(lambda: cluster.controllers.ignore("InferenceService"))
    cluster.call(lambda: cluster.store.put(model()))
    cluster.call(lambda: set_ready(cluster, "True"))
    assert [step.what for step in wait(cluster, changed=[MODEL])] == ["waiting", "ready"]


def test_trouble_that_passes_is_no_failure(cluster: Any) -> None:
    """Revisions fail and heal while a node starts."""
    cluster.call(lambda: cluster.controllers.ignore("InferenceService"))
    cluster.call(lambda: cluster.store.put(model()))

    async def act(steps: list[Step]) -> None:
        cluster.call(lambda: set_ready(cluster, "False", "Flapping"))
        await until(lambda: steps and steps[-1].detail == "Flapping")
        cluster.call(lambda: set_ready(cluster, "True"))

    assert wait(cluster, settle=60.0, meanwhile=act)[-1].what == "ready"


def test_trouble_that_lasts_is_a_failure_long_before_the_end(cluster: Any) -> None:
    """With the reason that the controller gives."""
    cluster.call(lambda: cluster.controllers.ignore("InferenceService"))
    cluster.call(lambda: cluster.store.put(model()))
    cluster.call(lambda: set_ready(cluster, "False", "NoImage"))
    with pytest.raises(NotReadyError, match=r"1 resource failed\n  - InferenceService default/m: NoImage"):
        wait(cluster, timeout=50.0, settle=0.05)


def test_the_end_of_the_time_is_told_with_what_is_missing(cluster: Any) -> None:
    """And with the option that sets it."""
    cluster.call(lambda: cluster.controllers.ignore("InferenceService"))
    with pytest.raises(NotReadyError, match=r"not ready within 0.1 s \(--timeout.*\n.*it is not there"):
        wait(cluster, timeout=0.1)


class Troubled(MemoryCluster):
    """A cluster whose watches and listings fail by a script; each entry is what happens to the next call."""

    def __init__(self, store: Any, finds: list[Exception], watches: list[Exception | None]) -> None:
        super().__init__(store)
        self.finds = finds
        self.watches = watches

    async def find(self, query: Query) -> Listing:
        """As scripted, else rightly."""
        if self.finds:
            raise self.finds.pop(0)
        return await super().find(query)

    async def watch(self, query: Query, since: str) -> AsyncGenerator[Change, None]:
        """Ends as scripted, else never."""
        if self.watches:
            trouble = self.watches.pop(0)
            if trouble:
                raise trouble
            return
        async for change in super().watch(query, since):
            yield change


GONE = RefusedError("too old", reason="gone")
FORBIDDEN = RefusedError("no watch", reason="forbidden")
LOST = UnavailableError("lost")


@pytest.mark.parametrize(
    ("finds", "watches"),
    [([], [None, None]), ([], [GONE]), ([], [LOST, LOST]), ([LOST], []), ([], [FORBIDDEN] * 3), ([LOST], [GONE, None])],
    ids=["ended", "gone", "lost", "listing lost", "forbidden", "all of it"],
)
def test_whatever_ends_a_watch_it_is_taken_up_again(
    finds: list[Exception], watches: list[Exception | None], memory: Any
) -> None:
    """What changed in between is seen by listing anew; who may not watch lists again and again."""
    store = memory.store
    memory.controllers.ignore("InferenceService")
    store.put(model())
    api = Troubled(store, list(finds), list(watches))

    async def run() -> None:
        waits = asyncio.ensure_future(wait_ready(api, [MODEL], timeout=60, settle=60, report=silently))
        await until(lambda: not api.watches and not api.finds)
        set_ready(memory, "True")
        await asyncio.wait_for(waits, 60)

    asyncio.run(run())


def test_the_end_waits_for_a_first_look(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However short the time was, what is missing is told with a reason; a cluster that never answers ends it too."""
    api = Troubled(memory.store, [LOST, LOST], [])
    with pytest.raises(NotReadyError, match="InferenceService default/m: it is not there"):
        asyncio.run(wait_ready(api, [MODEL], timeout=0.001, settle=60, report=silently))
    monkeypatch.setattr(waiting, "_FIRST_LOOK", 0.05)
    lost = Troubled(memory.store, [LOST] * 100_000, [])
    with pytest.raises(NotReadyError, match="nothing is known of it"):
        asyncio.run(wait_ready(lost, [MODEL], timeout=0.001, settle=60, report=silently))


def test_a_refusal_to_list_ends_the_waiting(memory: Any) -> None:
    """It would never end by itself."""
    memory.store.forbidden.append(lambda access: access.verb == "list")
    with pytest.raises(RefusedError, match="cannot list"):
        wait(memory)


def test_gone_is_gone(cluster: Any) -> None:
    """A finalizer is named when it holds a resource for too long."""
    held = model()
    held["metadata"]["finalizers"] = ["example.com/slow"]
    cluster.call(lambda: cluster.store.put(held))

    async def run(api: ClusterApi, *, timeout: float) -> None:
        await api.delete(MODEL)
        await wait_gone(api, [MODEL], timeout=timeout, report=silently)

    with pytest.raises(NotReadyError, match=r"not gone within 0.1 s.*\n.*held by example.com/slow"):
        cluster.run(lambda api: run(api, timeout=0.1))

    async def release(api: ClusterApi) -> None:
        waits: Awaitable[None] = asyncio.ensure_future(run(api, timeout=60))
        cluster.call(lambda: cluster.store.release("InferenceService", "m", "default"))
        await waits

    cluster.run(release)
