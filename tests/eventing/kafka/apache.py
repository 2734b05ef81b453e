"""Apache Kafka, one node, with a listener of each kind that production has."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .certificates import Certificates, make_certificates

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED = Path(__file__).parents[4] / "shared" / "kafka"
USER = "alice"
PASSWORD = "pw-5b1c8e2f"
_MECHANISMS = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"
_LOGIN = "org.apache.kafka.common.security"
_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{plaintext},SSL://127.0.0.1:{ssl},SASL_SSL://127.0.0.1:{sasl_ssl},\
SASL_PLAINTEXT://127.0.0.1:{sasl_plaintext},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,\
CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
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
ssl.keystore.type=PEM
ssl.keystore.location={certificates.broker}
ssl.truststore.type=PEM
ssl.truststore.location={certificates.ca}
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms={mechanisms}
connection.failed.authentication.delay.ms=0
"""
_JAAS = """
listener.name.{listener}.plain.sasl.jaas.config={login}.plain.PlainLoginModule required user_{user}="{password}";
listener.name.{listener}.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;
listener.name.{listener}.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;
listener.name.{listener}.oauthbearer.sasl.jaas.config={login}.oauthbearer.OAuthBearerLoginModule required;
"""


@dataclass(frozen=True, slots=True)
class ApacheKafka:
    """A running broker: the address of each listener, and the certificates that fit."""

    plaintext: str
    ssl: str
    """Wants a client's certificate."""
    sasl_ssl: str
    """Takes :data:`USER` by each mechanism; a token may be anybody's, and is not signed."""
    sasl_plaintext: str
    certificates: Certificates


def kafka_home() -> Path | None:
    """An unpacked Apache Kafka: ``$KAFKA_HOME``, else the folder beside this clone that developers have."""
    named = os.environ.get("KAFKA_HOME")
    home = Path(named) if named else SHARED
    return home if (home / "libs").is_dir() else None


def unsigned_token(life: float = 300) -> str:
    """A JWT that a broker with Kafka's development validator takes."""
    now = time.time()
    claims = {"sub": USER, "iat": now - 1, "exp": now + life}
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


@contextmanager
def running_apache_kafka(home: Path, data: Path) -> Iterator[ApacheKafka]:
    """Start it, and kill it at the end.

    Args:
        home: The unpacked archive.
        data: An empty folder.
    """
    ports = dict(zip(("plaintext", "ssl", "sasl_ssl", "sasl_plaintext", "controller"), _free_ports(5), strict=True))
    certificates = make_certificates(data / "certificates")
    config = data / "server.properties"
    logins = (
        _JAAS.format(listener=listener, login=_LOGIN, user=USER, password=PASSWORD)
        for listener in ("sasl_ssl", "sasl_plaintext")
    )
    properties = _PROPERTIES.format(**ports, data=data, certificates=certificates, mechanisms=_MECHANISMS)
    config.write_text(properties + "".join(logins))
    java = ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{home}/libs/*"]
    scram = [f"SCRAM-SHA-{size}=[name={USER},iterations=4096,password={PASSWORD}]" for size in (256, 512)]
    format_log = ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", str(config)]
    users = [word for one in scram for word in ("--add-scram", one)]
    subprocess.run([*java, *format_log, *users], check=True, capture_output=True)
    with (data / "log.txt").open("wb") as log:
        broker = subprocess.Popen([*java, "kafka.Kafka", str(config)], stdout=log, stderr=log)
    try:
        for port in ports.values():
            _wait_for(port, broker, data / "log.txt")
        addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items() if name != "controller"}
        yield ApacheKafka(**addresses, certificates=certificates)
    finally:
        broker.kill()
        broker.wait()


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _wait_for(port: int, broker: subprocess.Popen[bytes], log: Path) -> None:
    # By plain sockets: kafka-python 3.0 leaves a socket open for each connection that was refused.
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and broker.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"Apache Kafka does not start: {log.read_text()[-2000:]}")
