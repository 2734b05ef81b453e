"""Containers as processes: several in one pod, probes, memory, working folder, Secrets; with real processes."""

from __future__ import annotations

import asyncio
import base64
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.local.conftest import CONTAINERS, QUICK, component, inference_service, lines, running

from headrace.local.manifest_files import follow

if TYPE_CHECKING:
    from tests.local.conftest import Running


def collocated(env: dict[str, str] | None = None) -> dict[str, Any]:
    """A predictor's pod with a transformer in it, as KServe has it: the transformer takes the requests."""
    part = component(env)
    predictor = part["containers"][0]
    predictor["args"] = ["--http-port=8085"]
    predictor["ports"], predictor["env"] = [], [*predictor["env"], {"name": "PORT", "value": "8085"}]
    del predictor["readinessProbe"]
    transformer = {
        "name": "transformer-container",
        "command": ["python", str(CONTAINERS / "echo_server.py")],
        "args": ["--predictor-host=localhost:8085", "--http-port", "8080"],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": 8080}},
    }
    part["containers"] = [predictor, transformer]
    return inference_service(predictor=part)


def test_containers_of_one_pod_start_and_end_together(home: Path, tmp_path: Path) -> None:
    """The transformer answers and finds its neighbour at localhost; when the neighbour dies the replica is replaced."""
    journal = tmp_path / "journal"

    async def scenario() -> None:
        async with running(home, collocated({"JOURNAL": str(journal)})) as up:
            echo = await up.ask()
            beside = echo["argv"][0].removeprefix("--predictor-host=")
            assert beside.startswith("127.0.0.1:")
            assert beside != f"127.0.0.1:{echo['environment']['PORT']}"
            # It has no probe of its own: the replica may be ready before it listens.
            await up.until(lambda: "labels-predictor-1 listens" in lines(journal), 60)
            async with up.client.get(f"http://{beside}/") as response:
                neighbour = (await response.json())["pid"]
            assert neighbour != echo["pid"]
            os.kill(neighbour, 9)
            await up.until(lambda: bool(up.kinds("died")), 30)
            assert "(labels-predictor-1/kserve-container) ended by SIGKILL" in up.kinds("died")[0].detail
            with pytest.raises(ProcessLookupError):
                os.kill(echo["pid"], 0)
            assert (await up.ask())["name"] == "labels-predictor-2"

    asyncio.run(scenario())


def probed(**probes: Any) -> dict[str, Any]:
    """A service with these probes beside its usual one."""
    part = component()
    part["containers"][0].update(probes)
    return inference_service(predictor=part)


def test_a_failed_liveness_probe_replaces_the_replica(home: Path, tmp_path: Path) -> None:
    """As often in a row as it says; a command is run with the container's variables."""
    alive = tmp_path / "alive"
    alive.touch()
    words = [
        sys.executable,
        "-c",
        f"import os, sys; sys.exit('K_SERVICE' not in os.environ or not os.path.exists({str(alive)!r}))",
    ]
    service = probed(
        livenessProbe={"exec": {"command": words}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 30}
    )

    async def scenario() -> None:
        async with running(home, service) as up:
            await up.ask()
            alive.unlink()
            await up.until(lambda: bool(up.kinds("died")), 60)
            alive.touch()
            assert "failed its liveness probe 1 times, and ended by SIGKILL" in up.kinds("died")[0].detail
            assert (await up.ask())["name"] == "labels-predictor-2"

    asyncio.run(scenario())


def test_a_failed_readiness_probe_takes_the_replica_out_of_the_rotation(home: Path, tmp_path: Path) -> None:
    """It lives, and gets requests again when the probe succeeds."""
    ready = tmp_path / "ready"
    ready.touch()
    words = [sys.executable, "-c", f"import os, sys; sys.exit(not os.path.exists({str(ready)!r}))"]
    service = probed(
        readinessProbe={"exec": {"command": words}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 30}
    )

    def state(up: Running) -> str:
        return up.twin.status().services[0].replicas[0].state

    async def scenario() -> None:
        async with running(home, service) as up:
            await up.ask()
            ready.unlink()
            await up.until(lambda: state(up) == "unready", 60)
            waiting = asyncio.ensure_future(up.ask())
            await up.until(lambda: up.twin.status().services[0].queued == 1)
            ready.touch()
            assert (await waiting)["name"] == "labels-predictor-1"

    asyncio.run(scenario())


def test_a_startup_probe_bounds_the_start(home: Path) -> None:
    """Its delay, and a period for each failure: then the start has failed."""
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}

    async def scenario() -> None:
        async with (
            running(home, probed(startupProbe=probe), settings=replace(QUICK, start_attempts=1)) as up,
            up.client.get(up.url()) as response,
        ):
            assert response.status == 503
            assert "was not ready within 1 s" in await response.text()

    asyncio.run(scenario())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sets a limit of another process")
def test_a_container_has_no_more_memory_than_its_limit(home: Path) -> None:
    """What it asks for beyond is refused to it."""
    part = component()
    part["containers"][0]["resources"] = {"limits": {"memory": "256Mi"}}
    limited = inference_service(predictor=part)

    async def scenario() -> None:
        async with running(home, limited) as up:
            pid = (await up.ask())["pid"]
            import resource  # noqa: PLC0415 - not on Windows

            assert resource.prlimit(pid, resource.RLIMIT_DATA) == (256 << 20, 256 << 20)

    asyncio.run(scenario())


SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "keys", "namespace": "vision"},
    "data": {"token": base64.b64encode(b"s3cret").decode()},
    "stringData": {"user": "me"},
}


def test_secrets_are_variables_and_files(home: Path, tmp_path: Path) -> None:
    """By key and whole, mounted whole and in part; nobody else may read the files."""
    part = component()
    container = part["containers"][0]
    container["env"] += [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}}]
    container["envFrom"] = [{"secretRef": {"name": "keys"}, "prefix": "KEY_"}]
    container["args"] += ["/etc/keys/token", "/etc/one/deep/er"]
    container["workingDir"] = str(tmp_path)
    container["volumeMounts"] = [{"name": "all", "mountPath": "/etc/keys"}, {"name": "one", "mountPath": "/etc/one"}]
    part["volumes"] = [
        {"name": "all", "secret": {"secretName": "keys"}},
        {"name": "one", "secret": {"secretName": "keys", "items": [{"key": "user", "path": "deep/er"}]}},
    ]

    async def scenario() -> None:
        async with running(home, inference_service(predictor=part), SECRET) as up:
            echo = await up.ask()
            environment = echo["environment"]
            assert (environment["TOKEN"], environment["KEY_user"], environment["KEY_token"]) == (
                "s3cret",
                "me",
                "s3cret",
            )
            assert echo["cwd"] == str(tmp_path)
            files = [Path(word) for word in echo["argv"] if word.startswith(str(home))]
            assert {file.name: file.read_text() for file in files} == {"token": "s3cret", "er": "me"}
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}

    asyncio.run(scenario())


def test_changed_annotations_are_followed(home: Path, tmp_path: Path) -> None:
    """A minimum raised in the file: the replica is there without a request; a mistake is told and changes nothing."""
    file = tmp_path / "service.yaml"
    journal = tmp_path / "journal"
    text = f"""
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {{name: labels, namespace: vision}}
spec:
  template:
    metadata: {{annotations: {{autoscaling.knative.dev/min-scale: "0"}}}}
    spec:
      containers:
      - command: [python, {CONTAINERS / "echo_server.py"}]
        env: [{{name: JOURNAL, value: {journal}}}]
"""
    file.write_text(text)

    async def scenario() -> None:
        async with running(home, yaml.safe_load(text)) as up:
            told: list[str] = []
            following = asyncio.ensure_future(follow(up.twin, file, told.append, 0.05))
            await asyncio.sleep(0)
            file.write_text(text.replace('min-scale: "0"', 'min-scale: "many"'))
            await up.until(lambda: bool(told), 30)
            assert "is 'many', not a whole number" in told[0]
            file.write_text(text.replace('min-scale: "0"', 'min-scale: "1"'))
            await up.until(lambda: "labels listens" in "".join(lines(journal)) or bool(up.kinds("ready")), 60)
            assert told[1:] == ["vision/labels: scaled by its changed annotations"]
            following.cancel()

    asyncio.run(scenario())
