"""Kafka brokers for the suites: the embedded one, and Apache Kafka where it is unpacked."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headrace.testing.broker import running_broker

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED = Path(__file__).parents[4] / "shared" / "kafka"
_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}/log
message.max.bytes=16777216
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""


def kafka_home() -> Path | None:
    """An unpacked Apache Kafka: ``$KAFKA_HOME``, else the folder beside this clone that developers have."""
    named = os.environ.get("KAFKA_HOME")
    home = Path(named) if named else SHARED
    return home if (home / "libs").is_dir() else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, broker: subprocess.Popen[bytes], log: Path) -> None:
    # By plain sockets: kafka-python 3.0 leaves a socket open for each connection that was refused.
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and broker.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"Apache Kafka does not start: {log.read_text()[-2000:]}")


@contextmanager
def _apache_kafka(home: Path, data: Path) -> Iterator[str]:
    port = _free_port()
    config = data / "server.properties"
    config.write_text(_PROPERTIES.format(port=port, controller=_free_port(), data=data))
    java = ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{home}/libs/*"]
    cluster = ["-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", str(config)]
    subprocess.run([*java, "kafka.tools.StorageTool", "format", *cluster], check=True, capture_output=True)
    with (data / "log.txt").open("wb") as log:
        broker = subprocess.Popen([*java, "kafka.Kafka", str(config)], stdout=log, stderr=log)
    try:
        _wait_for(port, broker, data / "log.txt")
        yield f"127.0.0.1:{port}"
    finally:
        broker.kill()
        broker.wait()


@pytest.fixture(scope="session", params=["embedded", "apache"])
def kafka(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``HOST:PORT`` of each broker in turn; tests name their own topics."""
    data = tmp_path_factory.mktemp(request.param)
    if request.param == "embedded":
        with running_broker(data) as bootstrap:
            yield bootstrap
        return
    home = kafka_home()
    if home is None:
        pytest.skip("no Apache Kafka here: unpack it and set KAFKA_HOME; the embedded broker is tested all the same")
    with _apache_kafka(home, data) as bootstrap:
        yield bootstrap
