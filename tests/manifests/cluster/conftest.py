"""Clusters for the tests of the cluster commands: in memory, and over HTTP."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from headrace.manifests.cluster import waiting
from headrace.manifests.cluster.connection import Connection
from headrace.manifests.cluster.deploying import Deployed, DeployOptions, deploy
from headrace.manifests.cluster.http import http_cluster
from headrace.manifests.cluster.plan import plan_of
from headrace.manifests.cluster.transport import Patience
from headrace.manifests.options import RenderOptions
from headrace.testing.cluster.controllers import Controllers
from headrace.testing.cluster.memory import MemoryCluster
from headrace.testing.cluster.server import api_server
from headrace.testing.cluster.store import ClusterStore

from .lab import TOKEN, Lab  # tests/ is no package, so only a relative name finds it

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from headrace.manifests.cluster.api import ClusterApi
    from headrace.manifests.spec import InferenceApp
    from headrace.testing.cluster.server import ApiServer

RENDER = RenderOptions(image="registry.lab/headrace:1")
QUICK = Patience(broken=0.3, busy=10.0, first_wait=0.02)


@dataclass(frozen=True)
class Cluster:
    """One kind of cluster: how to open it, and its store."""

    store: ClusterStore
    controllers: Controllers
    open: Callable[[], Any]
    call: Callable[[Callable[[], Any]], Any]
    """Runs an action where the store lives."""
    server: ApiServer | None = None
    """Behind which it is, if any."""

    def run(self, action: Callable[[ClusterApi], Awaitable[Any]]) -> Any:
        """The result of an action on the opened cluster, in a loop of its own."""

        async def opened() -> Any:
            async with self.open() as api:
                return await asyncio.wait_for(action(api), 100)

        return asyncio.run(opened())


def over_http(server: ApiServer) -> Any:
    """The cluster behind a server."""
    return http_cluster(Connection(server.url), QUICK)


@contextmanager
def in_memory() -> Iterator[Cluster]:
    """A cluster in this very process."""
    store = ClusterStore()

    @asynccontextmanager
    async def opened() -> AsyncIterator[ClusterApi]:
        yield MemoryCluster(store)

    yield Cluster(store, Controllers(store), opened, lambda action: action())


@contextmanager
def served() -> Iterator[Cluster]:
    """A cluster behind a real socket."""
    with api_server() as server:
        yield Cluster(server.store, server.controllers, lambda: over_http(server), server.call, server)


SOON = DeployOptions(timeout=60.0, settle=0.05)


@pytest.fixture(autouse=True)
def soon_calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was changed and stays ready is believed sooner than in a cluster: the scripted operators act at once."""
    monkeypatch.setattr(waiting, "_CALM", 0.05)


@pytest.fixture
def deploy_app() -> Callable[..., Deployed]:
    """Deploys an app made of a document to a cluster."""

    def deployed(cluster: Cluster, *apps: InferenceApp, options: DeployOptions = SOON, **more: Any) -> Deployed:
        plan = plan_of(apps, RENDER)
        found: Deployed = cluster.run(lambda api: deploy(api, plan, options, **more))
        return found

    return deployed


@pytest.fixture(params=[in_memory, served], ids=["memory", "http"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Each kind of cluster in turn."""
    with request.param() as found:
        yield found


@pytest.fixture
def memory() -> Iterator[Cluster]:
    """The cluster in memory, for rules that do not depend on how it is reached."""
    with in_memory() as found:
        yield found


@pytest.fixture
def http() -> Iterator[Cluster]:
    """The cluster over HTTP, for rules about broken connections."""
    with served() as found:
        yield found


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """A server, for tests of what HTTP alone can do."""
    with api_server() as found:
        yield found


@pytest.fixture
def lab(tmp_path: Path, document: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A cluster with a small app to deploy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    with api_server(token=TOKEN, delay=0.05) as server:
        yield Lab(tmp_path, server, document)
