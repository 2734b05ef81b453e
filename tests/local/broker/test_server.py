"""Start, stop, and clients that misbehave."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import kafka
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kafka.protocol.consumer import FetchRequest, FetchResponse
from kafka.protocol.metadata import ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse

from headrace.errors import ConfigurationError
from headrace.local.broker import EmbeddedBroker
from headrace.local.broker.api.records import fetch
from headrace.local.broker.core import Call, Core
from headrace.local.broker.sasl import Session
from headrace.testing.broker import BrokerProcess, BrokerSettings, running_broker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def start(broker: EmbeddedBroker) -> None:
    """Start a broker and stop it again."""

    async def main() -> None:
        try:
            await broker.start()
        finally:
            await broker.stop()

    asyncio.run(main())


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "example.com", ""])
def test_only_loopback(tmp_path: Path, host: str) -> None:
    """Without security there is no listening on a network."""
    with pytest.raises(ConfigurationError, match="loopback"):
        start(EmbeddedBroker(tmp_path, host=host))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_any_loopback_address(tmp_path: Path, host: str) -> None:
    """Every loopback address may be named."""
    start(EmbeddedBroker(tmp_path, host=host))


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """The message names the port and what to do; the data folder is free again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"Port {port} .*--port"):
            start(EmbeddedBroker(tmp_path, port=port))
    start(EmbeddedBroker(tmp_path, port=port))


def test_one_broker_a_folder(tmp_path: Path) -> None:
    """A second broker on the data is refused, from another process as from this one."""
    with BrokerProcess(tmp_path), pytest.raises(ConfigurationError, match="Another broker"):
        start(EmbeddedBroker(tmp_path))
    with running_broker(tmp_path), pytest.raises(ConfigurationError, match="Another broker"):
        start(EmbeddedBroker(tmp_path))


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A file in the place of the folder, or a catalogue that is no JSON: a clear message, nothing overwritten."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigurationError, match="file"):
        start(EmbeddedBroker(tmp_path / "file"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "topics.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"topics\.json"):
        start(EmbeddedBroker(tmp_path / "data"))
    assert (tmp_path / "data" / "topics.json").read_text() == "{"


def test_without_the_c_extension_it_says_what_to_install(tmp_path: Path) -> None:
    """``crc32c`` missing is told at start, with the command that helps."""
    program = (
        "import sys; sys.modules['crc32c'] = None\n"
        "import asyncio, pathlib\n"
        "from headrace.errors import ConfigurationError\n"
        "from headrace.local.broker import EmbeddedBroker\n"
        "try: asyncio.run(EmbeddedBroker(pathlib.Path(sys.argv[1])).start())\n"
        "except ConfigurationError as fault: print(fault)\n"
    )
    told = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "pip install crc32c" in told.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_runs_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    """``headrace broker`` prints its address, and ends with 0 at SIGTERM or SIGINT."""
    program = "import typer; from headrace.cli.broker import broker; typer.run(broker)"
    command = [sys.executable, "-c", program, "--port", "0", "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            process.send_signal(number)
            assert process.wait(20) == 0
        finally:
            process.kill()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert line.startswith("Kafka on 127.0.0.1:")
    assert line.endswith(f"data in {tmp_path}\n")


def test_default_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``HEADRACE_HOME`` first, the user's state folder otherwise."""
    from headrace.cli.broker import default_data  # noqa: PLC0415 - as the command line imports it

    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    assert default_data() == tmp_path / "kafka"
    monkeypatch.delenv("HEADRACE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_data() == tmp_path / ".local" / "state" / "headrace" / "kafka"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "a frame of 1195725856 bytes"),
        (struct.pack(">i", 64 * 1024 * 1024 + 1), "a frame of 67108865 bytes"),
        (struct.pack(">i", -1), "a frame of -1 bytes"),
        (struct.pack(">ihhi", 8, 999, 0, 1), "request 999 in version 0 is not supported"),
        (struct.pack(">ihhi", 8, 3, 99, 1), "request 3 in version 99 is not supported"),
        (struct.pack(">ihhih", 10, 3, 5, 1, -1), "cannot be read"),
        (struct.pack(">ihhihi", 14, 3, 5, 1, -1, 1 << 30), "cannot be read"),
    ],
)
def test_garbage_closes_its_connection_alone(  # noqa: PLR0917 - fixtures
    bootstrap: str,
    wires: Callable[[str], Any],
    speak: Any,
    topic: str,
    caplog: pytest.LogCaptureFixture,
    data: bytes,
    told: str,
) -> None:
    """Bytes that are no request end that connection, in one line of the log; other clients notice nothing."""
    caplog.set_level(logging.WARNING)
    good, bad = wires(bootstrap), wires(bootstrap)
    assert speak.metadata(good, topic) == 0
    bad.raw(data)
    assert bad.is_closed_by_peer()
    assert speak.metadata(good, topic) == 0
    lines = [one for one in caplog.records if one.name.startswith("headrace.local.broker")]
    assert [told in one.getMessage() and one.exc_info is None for one in lines] == [True]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from([0, 1, 2, 3, 8, 9, 10, 11, 14, 18, 19, 22, 24, 28, 36, 44, 60]),
    version=st.integers(0, 11),
    body=st.binary(max_size=60),
)
def test_no_request_body_breaks_the_broker(
    bootstrap: str, wires: Callable[[str], Any], key: int, version: int, body: bytes
) -> None:
    """Whatever follows a right header, the broker answers or closes, and serves the next client."""
    wire = wires(bootstrap)
    frame = struct.pack(">hhih", key, version, 7, -1) + body
    wire.raw(struct.pack(">i", len(frame)) + frame)
    wire.shut()
    wire.drain()
    wire.close()
    wire = wires(bootstrap)
    assert wire.call(ApiVersionsRequest(), ApiVersionsResponse, 0).error_code == 0
    wire.close()


def test_an_unknown_version_of_api_versions_is_answered(bootstrap: str, wires: Callable[[str], Any]) -> None:
    """A newer client is told what is served in version 0 (KIP-511), and goes on with that."""
    wire = wires(bootstrap)
    wire.raw(struct.pack(">ihhihb", 11, 18, 77, 5, -1, 0))
    answer = wire.receive(ApiVersionsResponse, 0)
    assert answer.error_code == 35
    assert {one.api_key for one in answer.api_keys} >= {0, 1, 3, 18}


def test_pipelined_requests_are_answered_in_order(bootstrap: str, wires: Callable[[str], Any], topic: str) -> None:
    """Two hundred requests in one go, the first of them a fetch that waits, are answered one after the other."""
    wire = wires(bootstrap)
    asked = [MetadataRequest(topics=[MetadataRequest.MetadataRequestTopic(name=topic)], allow_auto_topic_creation=True)]
    wire.call(asked[0], MetadataResponse, 5)
    wire.send(waiting_fetch(topic, 300), 11)
    for _ in range(200):
        wire.send(MetadataRequest(topics=[]), 5)
    assert wire.receive(FetchResponse, 11).responses[0].topic == topic
    for _ in range(200):
        assert wire.receive(MetadataResponse, 5).topics == []


def test_a_client_that_does_not_read_costs_no_memory(
    tmp_path: Path, wires: Callable[[str], Any], speak: Any, batch: Any
) -> None:
    """200 MB of answers to a client that reads nothing at first: the broker waits with them, then gives them all."""
    with BrokerProcess(tmp_path) as broker:
        wire, other = wires(broker.bootstrap), wires(broker.bootstrap)
        speak.metadata(wire, "t")
        assert speak.produce(wire, "t", batch(b"x" * 1_000_000)) == (0, 0)
        process = psutil.Process(broker.pid)
        before = process.memory_info().rss
        for _ in range(200):
            wire.send(waiting_fetch("t", 0), 11)
        assert speak.metadata(other, "t") == 0
        assert process.memory_info().rss - before < 100_000_000
        for _ in range(200):
            assert len(wire.receive(FetchResponse, 11).responses[0].partitions[0].records) > 1_000_000


def test_a_fetch_waits_for_records_and_not_longer(
    bootstrap: str, wires: Callable[[str], Any], topic: str, speak: Any, batch: Any
) -> None:
    """It is answered at once when records come, and empty after ``max_wait_ms``."""
    reader, writer = wires(bootstrap), wires(bootstrap)
    speak.metadata(writer, topic)
    began = time.monotonic()
    reader.send(waiting_fetch(topic, 300), 11)
    assert not reader.receive(FetchResponse, 11).responses[0].partitions[0].records
    assert time.monotonic() - began >= 0.29
    began = time.monotonic()
    reader.send(waiting_fetch(topic, 20_000), 11)
    assert speak.produce(writer, topic, batch(b"x")) == (0, 0)
    assert reader.receive(FetchResponse, 11).responses[0].partitions[0].records
    assert time.monotonic() - began < 10


def test_a_fetch_that_waits_sees_what_was_deleted_meanwhile(tmp_path: Path, batch: Callable[..., bytes]) -> None:
    """Where the records lie is looked up when they are read: files may have gone since the request came."""

    async def main() -> None:
        core = Core(tmp_path, BrokerSettings(), lambda _step: None)
        log = core.catalogue.create("t", 1, {}).partitions[0]
        log.append(memoryview(batch(b"v")))
        request = waiting_fetch("t", 0)
        request.min_bytes = 1 << 20
        answer = fetch(core, Call(request, 11, "", "", Session(core.settings)))
        log.delete_before(log.end)
        (partition,) = (await answer).responses[0].partitions
        assert partition.error_code == 1
        core.close()

    asyncio.run(main())
    assert len(list(tmp_path.rglob("*.log"))) == 1


def test_a_deleted_topic_ends_its_readers_and_frees_its_space(
    tmp_path: Path, wires: Callable[[str], Any], speak: Any
) -> None:
    """A reader that waits is told at once that the topic is gone, and so are its files."""
    with running_broker(tmp_path) as address:
        reader = wires(address)
        speak.metadata(reader, "t")
        reader.send(waiting_fetch("t", 20_000), 11)
        assert (tmp_path / "topics" / "t" / "0" / "00000000000000000000.log").exists()
        began = time.monotonic()
        admin = kafka.KafkaAdminClient(bootstrap_servers=address)
        admin.delete_topics(["t"])
        admin.close()
        assert reader.receive(FetchResponse, 11).responses[0].partitions[0].error_code == 3
        assert time.monotonic() - began < 10
        assert not (tmp_path / "topics" / "t").exists()


def test_a_fetch_over_its_limit_gives_one_batch_of_all_partitions(
    bootstrap: str, wires: Callable[[str], Any], topic: str, speak: Any, batch: Any
) -> None:
    """Only the first partition that has records gets a batch over the limit of the whole fetch."""
    wire = wires(bootstrap)
    names = [f"{topic}-{number}" for number in range(3)]
    for name in names:
        speak.metadata(wire, name)
    for name in names[1:]:
        assert speak.produce(wire, name, batch(b"x" * 5_000)) == (0, 0)
    topics = FetchRequest.FetchTopic
    wanted = topics.FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=1 << 20)
    request = waiting_fetch(topic, 0, most=100)
    request.topics = [topics(topic=name, partitions=[wanted]) for name in names]
    wire.send(request, 11)
    answer = wire.receive(FetchResponse, 11).responses
    assert [len(one.partitions[0].records or b"") > 0 for one in answer] == [False, True, False]


def test_a_fetch_gives_the_first_batch_however_large(
    bootstrap: str, wires: Callable[[str], Any], topic: str, speak: Any, batch: Any
) -> None:
    """Limits below one batch still give it, so that a reader gets on (KIP-74); a second one does not fit."""
    wire = wires(bootstrap)
    speak.metadata(wire, topic)
    for _ in range(2):
        assert speak.produce(wire, topic, batch(b"x" * 5_000))[0] == 0
    wire.send(waiting_fetch(topic, 0, most=100), 11)
    records = wire.receive(FetchResponse, 11).responses[0].partitions[0].records
    assert 5_000 < len(records) < 6_000


def test_stop_ends_waiting_clients(tmp_path: Path, wires: Callable[[str], Any], speak: Any) -> None:
    """Stopping does not wait for a fetch or a join; the clients' connections close."""
    with running_broker(tmp_path, BrokerSettings(initial_rebalance_delay=60)) as address:
        fetching, joining = wires(address), wires(address)
        speak.metadata(fetching, "t")
        fetching.send(waiting_fetch("t", 60_000), 11)
        speak.send_join(joining, "g", version=3)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert fetching.is_closed_by_peer()
    assert joining.is_closed_by_peer()


def waiting_fetch(topic: str, wait: int, *, most: int = 1 << 20) -> Any:
    """A fetch of partition 0 from the beginning."""
    topics = FetchRequest.FetchTopic
    wanted = topics.FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=most)
    return FetchRequest(
        max_wait_ms=wait,
        min_bytes=1,
        max_bytes=most,
        isolation_level=0,
        topics=[topics(topic=topic, partitions=[wanted])],
        forgotten_topics_data=[],
    )
