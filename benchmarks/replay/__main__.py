"""A replay beside live dispatch: the same events, model, broker and machine, one after the other.

    python -m benchmarks.replay                               # 100,000 events through an echo
    python -m benchmarks.replay --mails mails.jsonl           # and each mail of a recording through MiniLM; then int8
    python -m benchmarks.replay --events 5000 --batch 1 --json found.json

docs/benchmarks.md says what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.eventing.processes import Processes, cpu_of
from benchmarks.eventing.traffic import Traffic
from benchmarks.replay.servers import Servers
from benchmarks.replay.ways import LIVE, REPLAY, Course, start, watch

from headrace.eventing.kafka.publisher import Publisher
from headrace.eventing.kafka.topics import TopicSpec, create_topics
from headrace.eventing.publish import events_of
from headrace.testing.broker import BrokerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HERE = Path(__file__).parent
SIZE = 1024
"""Bytes of an echo's event."""
AT_ONCE = 10_000
PARTITIONS = 4


def main() -> None:
    """Run, print a table, write what was found."""
    given = _arguments()
    found: dict[str, Any] = {"events": given.events, "batch": given.batch, "ways": {}}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        os.environ["HEADRACE_HOME"] = str(folder / "home")
        broker = stack.enter_context(BrokerProcess(folder / "kafka"))
        servers = Servers(folder)
        stack.callback(servers.stop)
        if given.events:
            url = servers.echo()
            course = Course(broker.bootstrap, "echo", given.events, url, given.batch, folder)
            found["ways"]["echo"] = _both(course, broker.pid, servers, _echoes(course))
            servers.stop()
        if given.mails:
            mails = list(events_of(given.mails))
            course = Course(broker.bootstrap, "mails", len(mails), servers.minilm(), given.batch, folder)
            found["ways"]["minilm"] = _both(course, broker.pid, servers, lambda: _publish(course, mails))
            servers.stop()
            found["int8"] = _compared(course, given)
    _print(found)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="through the echo; 0 for none")
    parser.add_argument("--mails", type=Path, help="a recording of scripts/example_streams.py text")
    parser.add_argument("--batch", type=int, default=32, help="most events in one request")
    parser.add_argument("--json", type=Path, help="where the numbers go")
    parser.add_argument("--html", type=Path, help="where the page of int8 beside FP32 goes")
    return parser.parse_args()


def _echoes(course: Course) -> Callable[[], None]:
    def publish() -> None:
        traffic = Traffic(course.kafka, course.topic, course.topic, size=SIZE)
        for begin in range(0, course.events, AT_ONCE):
            traffic.publish(f"e{begin}", min(AT_ONCE, course.events - begin))
        traffic.close()

    return publish


def _publish(course: Course, mails: Sequence[Any]) -> None:
    with Publisher(course.kafka) as publisher:
        publisher.publish(course.topic, mails)


def _both(course: Course, broker: int, servers: Servers, publish: Callable[[], None]) -> dict[str, Any]:
    """Live, then replay, over the same topic."""
    topics = {name: f"{course.topic}.{name}" for name in (LIVE, REPLAY)}
    create_topics(course.kafka, [TopicSpec(name, PARTITIONS) for name in (course.topic, *topics.values())])
    publish()
    print(f"{course.events:,} events are in {course.topic}", file=sys.stderr, flush=True)
    found = {}
    for name, topic in topics.items():
        processes = Processes(course.folder)
        try:
            start(name, course, topic, processes)
            clocks = (lambda: cpu_of(broker), servers.cpu)
            found[name] = watch(name, course, topic, processes, clocks).facts()
        finally:
            processes.stop()
        print(f"{course.topic}, {name}: {found[name]['events_per_second']:.0f} a second", file=sys.stderr, flush=True)
    return found


def _compared(course: Course, given: argparse.Namespace) -> dict[str, Any]:
    """The mails through int8 weights, compared with what FP32 has answered in the replay."""
    results = str(course.folder / "int8.jsonl")
    page = ["--html", str(given.html.absolute())] if given.html else []
    words = [
        *("-m", "headrace.cli.main", "replay", "--recording", str(given.mails), "--kafka", course.kafka),
        *("--class", f"{HERE / 'quantised.py'}:MiniLM8", "--batch", str(course.batch), "--concurrency", "64"),
        *("--transformer", "headrace.transformers.text:TextTransformer", "--ordering", "none", "--as", "classes"),
        *("--results", results, "--against", f"{course.topic}.{REPLAY}", *page, "--output", "json"),
    ]
    done = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _print(found: dict[str, Any]) -> None:
    print("model   way     events/s  CPU ms/event  of broker  of server  MiB at 10 %   last   peak  twice")
    for model, ways in found["ways"].items():
        for name, one in ways.items():
            memory = one["memory_mib"]
            cpu = f"{one['cpu_ms']:13.3f} {one['broker_cpu_ms']:10.3f} {one['server_cpu_ms']:10.3f}"
            held = f"{memory['at_a_tenth']:12.1f} {memory['last']:6.1f} {memory['peak']:6.1f}"
            print(f"{model:<7} {name:<7} {one['events_per_second']:8.1f} {cpu} {held} {one['twice']:6}")
    if told := found.get("int8"):
        (before, after), (slow, fast) = told["latency_ms"], told["rate"]
        print(
            f"int8 beside FP32: {told['counts']['flip']} flips of {told['both']}; cosine at least {told['cosine_min']}"
        )
        print(f"median {after['p50']} ms beside {before['p50']} ms; {fast:.1f} a busy second beside {slow:.1f}")


if __name__ == "__main__":
    main()
