"""Manifests of small containers, and twins of them."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from headrace.local.settings import TwinSettings
from headrace.local.twin import Twin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from headrace.local.status import TwinEvent

CONTAINERS = Path(__file__).parent / "containers"
QUICK = TwinSettings(
    tick=0.05, report=0.05, start_backoff=0.05, max_backoff=0.2, drain=5.0, suspect=2.0, replica_limit=4
)


def component(env: dict[str, str] | None = None, *, idle: str = "1h", **fields: Any) -> dict[str, Any]:
    """A component that runs the echo server."""
    container = {
        "name": "kserve-container",
        "command": ["python", str(CONTAINERS / "echo_server.py")],
        "args": ["--http-port=8080"],
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": 8080}},
    }
    return {
        "minReplicas": 0,
        "maxReplicas": 1,
        "annotations": {"headrace.dev/idle": idle},
        "containers": [container],
        **fields,
    }


def inference_service(name: str = "labels", **components: dict[str, Any]) -> dict[str, Any]:
    """An InferenceService in namespace ``vision``."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "vision"},
        "spec": components or {"predictor": component()},
    }


def deployment(journal: Path, env: dict[str, str] | None = None) -> dict[str, Any]:
    """A dispatcher that runs the worker."""
    variables = {
        "JOURNAL": str(journal),
        "K_SINK": "http://labels.vision.svc.cluster.local",
        "HEADRACE_WAKE": "http://labels-predictor.vision.svc.cluster.local:80,http://labels.vision.svc.cluster.local",
        "KAFKA_BOOTSTRAP_SERVERS": "kafka-kafka-bootstrap.kafka.svc:9092",
        **(env or {}),
    }
    container = {
        "name": "dispatcher",
        "command": ["python", str(CONTAINERS / "worker.py")],
        "args": ["-f", "/etc/headrace/headrace.yaml"],
        "env": [{"name": key, "value": value} for key, value in variables.items()],
        "volumeMounts": [{"name": "app", "mountPath": "/etc/headrace"}],
    }
    pod = {
        "terminationGracePeriodSeconds": 10,
        "containers": [container],
        "volumes": [{"name": "app", "configMap": {"name": "labels-app"}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "labels-dispatcher", "namespace": "vision"},
        "spec": {"template": {"spec": pod}},
    }


CONFIG_MAP: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "labels-app", "namespace": "vision"},
    "data": {"headrace.yaml": "kind: InferenceApp\n"},
}


@dataclass
class Running:
    """A twin in a test, with a client."""

    twin: Twin
    client: aiohttp.ClientSession
    events: list[TwinEvent] = field(default_factory=list)

    def url(self, service: str = "labels") -> str:
        """The path address of a service at the ingress."""
        return f"{self.twin.ingress_url}/vision/{service}"

    async def ask(self, path: str = "/", service: str = "labels") -> dict[str, Any]:
        """The echo of a GET."""
        async with self.client.get(self.url(service) + path) as response:
            assert response.status == 200, await response.text()
            answer: dict[str, Any] = await response.json()
            return answer

    def kinds(self, kind: str) -> list[TwinEvent]:
        """The events of one kind."""
        return [event for event in self.events if event.kind == kind]

    async def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait until ``condition`` holds."""
        await until(condition, seconds, lambda: f"{self.twin.status()}\n{self.events}")


async def until(condition: Callable[[], bool], seconds: float = 10.0, state: Callable[[], str] = str) -> None:
    """Poll ``condition`` until it holds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"did not come to hold within {seconds} s: {state()}"
        pause = 0.01
        await asyncio.sleep(pause)


@asynccontextmanager
async def running(home: Path, *resources: dict[str, Any], **options: Any) -> AsyncIterator[Running]:
    """A twin of these resources, up."""
    events: list[TwinEvent] = []
    options = {"kafka": "127.0.0.1:9", "port": 0, "settings": QUICK, "on_event": events.append, **options}
    twin = Twin(resources, home=home, **options)
    # A minute is more than any test takes: what hangs is told apart from what is slow.
    timeout = aiohttp.ClientTimeout(total=60)
    async with twin, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as client:
        yield Running(twin, client, events)


def lines(path: Path) -> list[str]:
    """The lines of a journal."""
    return path.read_text().splitlines() if path.exists() else []


def first_start(path: Path) -> dict[str, Any]:
    """What the first process of a journal said about itself."""
    line = next(line for line in lines(path) if " start " in line)
    document: dict[str, Any] = json.loads(line.partition(" start ")[2])
    return document


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The twin's home."""
    return tmp_path / "home"
