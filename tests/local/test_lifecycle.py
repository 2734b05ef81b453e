"""A whole twin: environment of its processes, order at the end, traces, state, and no child that outlives it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.local.conftest import (
    CONFIG_MAP,
    QUICK,
    component,
    deployment,
    first_start,
    inference_service,
    lines,
    running,
    until,
)

from headrace.errors import ConfigurationError, UnavailableError
from headrace.local.state import Home, RunningApp
from headrace.local.trace_store import TraceStore
from headrace.local.trace_tree import rows, tree
from headrace.local.twin import Twin

if TYPE_CHECKING:
    from headrace.local.resources import Topic

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = PARENT.split("-")[1]


def test_a_transformer_gets_what_kserve_adds(home: Path) -> None:
    """Its predictor's address, the model's name and its port; and the predictor is reached there."""
    chain = inference_service(predictor=component(), transformer=component())

    async def scenario() -> None:
        async with running(home, chain) as up:
            echo = await up.ask()
            predictor = next(one for one in up.twin.status().services if one.name == "labels-predictor")
            port = echo["environment"]["PORT"]
            assert echo["argv"] == [
                *(f"--http-port={port}", "--model_name", "labels"),
                *("--predictor_host", predictor.url.removeprefix("http://")),
            ]
            async with up.client.get(f"{predictor.url}/") as response:
                assert (await response.json())["name"] == "labels-predictor-1"

    asyncio.run(scenario())


def test_a_container_has_its_environment(home: Path, tmp_path: Path) -> None:
    """The manifest's before the user's before the twin's shell: what is the shell's own does not come through."""
    service = inference_service(predictor=component({"MINE": "manifest", "OTEL_SERVICE_NAME": "labels"}))
    inherited = {
        **os.environ,
        "MINE": "shell",
        "OTEL_TRACES_SAMPLER": "always_on",
        "PORT": "1",
        "TRACEPARENT": "x",
        "TRACESTATE": "y",
    }

    async def scenario() -> None:
        async with running(home, service, environment=inherited, cwd=tmp_path) as up:
            echo = await up.ask()
            environment = echo["environment"]
            assert environment["MINE"] == "manifest"
            assert environment["OTEL_TRACES_SAMPLER"] == "always_on"
            assert environment["OTEL_SERVICE_NAME"] == "labels"
            assert environment["HEADRACE_HOME"] == str(home)
            assert environment["HEADRACE_OTLP_ENDPOINT"] == up.twin.otlp_url
            assert (environment["PYTHONUNBUFFERED"], environment["PYTHONSAFEPATH"]) == ("1", "1")
            assert environment["K_SERVICE"] == "labels-predictor"
            assert environment["PORT"] not in ("1", "8080")
            assert environment["TRACEPARENT"] not in ("", "x")
            assert "TRACESTATE" not in environment
            assert echo["cwd"] == str(tmp_path)

    asyncio.run(scenario())


def test_a_dispatcher_finds_its_sink_its_kafka_and_its_files(home: Path, tmp_path: Path) -> None:
    """Cluster addresses become those of this machine, mounted paths those of the run directory."""
    journal = tmp_path / "journal"

    async def scenario() -> None:
        async with running(home, deployment(journal), CONFIG_MAP, inference_service()) as up:
            await until(lambda: bool(lines(journal)))
            told = first_start(journal)
            service = up.twin.status().services[0]
            assert told["env"]["K_SINK"] == service.url
            assert told["env"]["HEADRACE_WAKE"] == f"{service.url},{service.url}"
            assert told["env"]["KAFKA_BOOTSTRAP_SERVERS"] == "127.0.0.1:9"
            file = Path(told["argv"][1])
            assert lines(file) == ["kind: InferenceApp"]
            assert home in file.parents
            workload = up.twin.status().workloads[0]
            assert (workload.name, workload.state, workload.pid) == ("labels-dispatcher", "running", told["pid"])

    asyncio.run(scenario())


def test_at_the_end_the_dispatcher_drains_before_its_sink_goes(home: Path, tmp_path: Path) -> None:
    """What the dispatcher still has in flight is answered; only then are the replicas ended."""
    journal = tmp_path / "journal"
    service = inference_service(predictor=component({"JOURNAL": str(journal)}))

    async def scenario() -> None:
        async with running(home, deployment(journal, {"DRAIN": "0.5"}), CONFIG_MAP, service):
            await until(lambda: bool(lines(journal)))
        assert [line.partition(" {")[0] for line in lines(journal)] == [
            "labels-dispatcher start",
            "labels-dispatcher SIGTERM",
            "labels-predictor-1 start",
            "labels-predictor-1 listens",
            "labels-predictor-1 request /?delay=0.5",
            "labels-dispatcher sink 200",
            "labels-dispatcher end",
            "labels-predictor-1 SIGTERM",
        ]

    asyncio.run(scenario())


def test_a_request_in_flight_at_the_end_is_answered(home: Path) -> None:
    """Replicas are drained, whatever they do on SIGTERM."""

    async def scenario() -> None:
        async with running(home, inference_service()) as up:
            await up.ask()
            slow = asyncio.ensure_future(up.ask("/?delay=0.5"))
            await up.until(lambda: up.twin.status().services[0].in_flight == 1)
            await up.twin.stop()
            assert (await slow)["path"] == "/?delay=0.5"

    asyncio.run(scenario())


def test_requests_that_wait_at_the_end_are_refused(home: Path) -> None:
    """Nothing hangs on a replica that will not come."""
    service = inference_service(predictor=component({"START_DELAY": "60"}))

    async def scenario() -> None:
        async with running(home, service) as up:
            waiting = asyncio.ensure_future(up.client.get(up.url() + "/"))
            await up.until(lambda: up.twin.status().services[0].queued == 1)
            await asyncio.wait_for(up.twin.stop(), 10)
            async with await waiting as response:
                assert response.status == 503
                assert "goes down" in await response.text()

    asyncio.run(scenario())


def test_a_dispatcher_that_dies_is_restarted_and_a_crash_loop_told(home: Path, tmp_path: Path) -> None:
    """With back-off, without end, and with its last line."""
    journal = tmp_path / "journal"

    async def scenario() -> None:
        async with running(home, deployment(journal, {"FAIL": "1"}), CONFIG_MAP) as up:
            await up.until(lambda: len(up.kinds("starting")) > 4)
            assert [event.detail for event in up.kinds("failed")] == [
                "ended 3 times in a row, and is tried on: exited with code 1: nothing to work on"
            ]
            workload = up.twin.status().workloads[0]
            assert workload.restarts >= 3
            assert workload.problem == "exited with code 1: nothing to work on"

    asyncio.run(scenario())


def test_logs_name_the_process(home: Path) -> None:
    """One file a service, each line with the replica that wrote it; echoed where that is asked for."""
    echoed: list[str] = []

    async def scenario() -> None:
        async with running(home, inference_service(), echo=echoed.append) as up:
            await up.ask()
            await up.until(lambda: bool(echoed))
        assert (home / "logs/vision.labels-predictor.log").read_text() == "labels-predictor-1 | listens\n"
        assert echoed == ["labels-predictor-1 | listens"]

    asyncio.run(scenario())


def test_a_cold_start_is_in_the_trace_of_its_request(home: Path) -> None:
    """``activator wait`` below the request's span, ``cold start`` below that, and the replica is told of it.

    A request that need not wait makes no span and keeps its context.
    """

    async def scenario() -> str:
        async with running(home, inference_service()) as up:
            async with up.client.get(up.url() + "/", headers={"traceparent": PARENT}) as response:
                told: str = (await response.json())["environment"]["TRACEPARENT"]
            warm = PARENT.replace(TRACE, "f" * 32)
            async with up.client.get(up.url() + "/", headers={"traceparent": warm}) as response:
                assert (await response.json())["headers"]["traceparent"] == warm
            return told

    told = asyncio.run(scenario())
    store = TraceStore.read(home / "traces.sqlite")
    found = rows(tree(store.spans_of(TRACE)))
    assert [(row.depth, row.name, row.service) for row in found] == [
        (0, "activator wait", "headrace-activator"),
        (1, "cold start", "headrace-activator"),
    ]
    wait, start = (row.span for row in found)
    assert wait.parent_id == PARENT.split("-")[2]
    assert told.split("-")[1:3] == [TRACE, start.span_id]
    phases = [start.attributes[f"headrace.cold_start.{phase}"] for phase in ("spawned", "ready")]
    assert 0 < phases[0] < phases[1] <= start.duration_ms / 1000 + 0.01
    assert store.spans_of("f" * 32) == ()
    store.close()


def test_a_failed_start_is_an_error_in_the_trace(home: Path) -> None:
    """The span says why."""

    async def scenario() -> None:
        service = inference_service(predictor=component({"CRASH": "no weights"}))
        async with (
            running(home, service) as up,
            up.client.get(up.url() + "/", headers={"traceparent": PARENT}) as response,
        ):
            assert response.status == 503

    asyncio.run(scenario())
    store = TraceStore.read(home / "traces.sqlite")
    starts = [span for span in store.spans_of(TRACE) if span.name == "cold start"]
    assert len(starts) == 3
    assert all(span.status == "error" and "no weights" in span.status_message for span in starts)
    store.close()


def test_the_state_is_there_while_the_twin_is_up(home: Path) -> None:
    """Other commands read all addresses from it; two twins in one home are refused."""

    async def scenario() -> None:
        apps = (RunningApp("labels", "vision", ("pictures",)),)
        async with running(home, inference_service(), apps=apps) as up:
            state = Home(home).read()
            assert state is not None
            assert (state.pid, state.ingress, state.otlp) == (os.getpid(), up.twin.ingress_url, up.twin.otlp_url)
            assert (state.kafka, state.apps, state.traces) == ("127.0.0.1:9", apps, str(home / "traces.sqlite"))
            with pytest.raises(ConfigurationError, match="already up"):
                await Twin([], home=home, kafka="127.0.0.1:9", port=0).start()
            assert Home(home).read() == state
        assert Home(home).read() is None

    asyncio.run(scenario())


def test_topics_are_made_before_anything_that_needs_them(home: Path, tmp_path: Path) -> None:
    """The callback has the broker's address and every topic; its failure ends the start, and all of it."""
    topic = {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaTopic",
        "metadata": {"name": "pictures-1", "namespace": "kafka"},
        "spec": {"topicName": "Pictures", "partitions": 8, "config": {"retention.ms": 1000}},
    }
    journal = tmp_path / "journal"
    made: list[tuple[str, str, int, dict[str, str]]] = []

    async def create(kafka: str, topics: tuple[Topic, ...]) -> None:
        assert not lines(journal)
        made.extend((kafka, one.name, one.partitions, dict(one.config)) for one in topics)

    async def refuse(kafka: str, topics: tuple[Topic, ...]) -> None:
        raise UnavailableError(f"no broker at {kafka}")

    async def scenario() -> None:
        resources = (topic, deployment(journal), CONFIG_MAP)
        with pytest.raises(UnavailableError, match="no broker"):
            async with running(home, *resources, create_topics=refuse):
                raise AssertionError
        async with running(home, *resources, create_topics=create):
            await until(lambda: bool(lines(journal)))

    asyncio.run(scenario())
    assert made == [("127.0.0.1:9", "Pictures", 8, {"retention.ms": "1000"})]


def test_the_embedded_kafka_is_a_child(home: Path) -> None:
    """Started before all else on a free port, restarted on the same one when it dies, ended last."""

    async def scenario() -> None:
        async with running(home, kafka=None, settings=replace(QUICK, kafka_port=0)) as up:
            host, port = up.twin.kafka.split(":")
            first = [child for child in psutil.Process().children() if "broker" in child.cmdline()]
            assert len(first) == 1
            first[0].kill()
            await up.until(lambda: len(up.kinds("starting")) == 2)
            await until_connects(host, int(port))
        assert [(event.kind, event.subject) for event in up.events][-1] == ("stopped", "kafka")

    asyncio.run(scenario())


async def until_connects(host: str, port: int) -> None:
    """Wait until somebody listens."""
    connected = False
    while not connected:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.05)
        else:
            writer.close()
            connected = True


def test_a_kafka_that_does_not_start_ends_the_start(home: Path) -> None:
    """With its last line and the log's place."""
    home.mkdir()
    (home / "kafka").write_text("a file where the broker's folder should be")

    async def scenario() -> None:
        with pytest.raises(UnavailableError, match=r"embedded Kafka broker .*kafka\.log"):
            async with running(home, kafka=None, settings=replace(QUICK, kafka_port=0)):
                raise AssertionError

    asyncio.run(scenario())


PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from headrace.local.twin import Twin

async def main():
    resources, home = json.loads(sys.argv[1]), Path(sys.argv[2])
    async with Twin(resources, home=home, kafka="127.0.0.1:9", port=0) as twin:
        while not all(replica.state == "ready" for one in twin.status().services for replica in one.replicas):
            await asyncio.sleep(0.01)
        print(json.dumps([w.pid for w in twin.status().workloads] +
              [r.pid for s in twin.status().services for r in s.replicas]), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_no_child_outlives_a_killed_twin(home: Path, tmp_path: Path) -> None:
    """``kill -9`` of the twin ends its processes as well, and its home is free for the next."""
    resources: list[dict[str, Any]] = [
        inference_service(predictor=component(minReplicas=1)),
        deployment(tmp_path / "journal"),
        CONFIG_MAP,
    ]
    arguments = [sys.executable, "-c", PROGRAM, json.dumps(resources), str(home)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as twin:
        assert twin.stdout is not None
        children = [psutil.Process(pid) for pid in json.loads(twin.stdout.readline())]
        assert len(children) == 2
        twin.send_signal(signal.SIGKILL)
        twin.wait()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert alive == []
    assert Home(home).read() is None
    next_home = Home(home)
    next_home.lock()
    next_home.unlock()
