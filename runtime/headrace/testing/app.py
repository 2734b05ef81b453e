"""An app up on this machine, driven by the commands of a user: for end-to-end tests of Headrace and of users' apps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from headrace.errors import DeadlineExceededError, HeadraceError
from headrace.eventing.codec.kafka import read_record
from headrace.eventing.kafka.reader import read_topic
from headrace.eventing.kafka.scan import Scanner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from headrace.eventing.event import CloudEvent
    from headrace.testing.clock import ForwardClock

PATIENCE = 120.0
"""Seconds that anything may take before a test fails: a cold start on a busy machine takes long."""
_MINUTE = 60.0
Found = TypeVar("Found")


def until(true: Callable[[], Found], what: str, patience: float = PATIENCE) -> Found:
    """The first true value of ``true``.

    Raises:
        DeadlineExceededError: none came in time; the message is ``what``.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.05)
    raise DeadlineExceededError(f"Not within {patience:g} s: {what}")


@dataclass(frozen=True, slots=True)
class AppRunner:
    """A running ``headrace up``, as a user in another terminal sees it."""

    home: Path
    pid: int
    """The process that the twin runs in."""
    environment: dict[str, str]

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``headrace WORDS`` beside it; its output, whatever its exit code."""
        return subprocess.run(  # noqa: S603  # this interpreter, and words of the test's own
            [sys.executable, "-m", "headrace.cli.main", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def succeed(self, *words: str) -> str:
        """What ``headrace WORDS`` prints.

        Raises:
            HeadraceError: it failed; with what it said.
        """
        done = self.command(*words)
        if done.returncode:
            raise HeadraceError(f"headrace {' '.join(words)} exited with {done.returncode}: {done.stderr}")
        return done.stdout

    def state(self) -> dict[str, Any]:
        """What the twin says of itself: addresses and apps."""
        found: dict[str, Any] = json.loads((self.home / "state.json").read_text())
        return found

    def status(self) -> dict[str, Any]:
        """Services with their replicas, and the dispatchers."""
        found: dict[str, Any] = json.loads(self.succeed("status", "--output", "json"))
        return found

    def replicas(self) -> dict[str, int]:
        """How many processes each service has, by its name: ``picture-labels-predictor``."""
        with urllib.request.urlopen(self.state()["ingress"], timeout=PATIENCE) as response:  # noqa: S310  # http://127.0.0.1
            found = json.load(response)
        return {service["name"]: len(service["replicas"]) for service in found["services"]}

    def post(self, app: str, path: str, value: Any) -> Any:
        """The JSON answer of an app to a JSON request at the ingress; wakes it where it has no replica.

        Args:
            app: Its name.
            path: ``/v1/models/NAME:predict``, for example.
            value: What is sent.

        Raises:
            HeadraceError: there is no such app, or the answer's status is no 2xx; with what it said.
        """
        return self._asked(app, path, json.dumps(value).encode())

    def get(self, app: str, path: str) -> Any:
        """As :meth:`post`, for a GET."""
        return self._asked(app, path, None)

    def _asked(self, app: str, path: str, body: bytes | None) -> Any:
        state = self.state()
        namespaces = {known["name"]: known["namespace"] for known in state["apps"]}
        if app not in namespaces:
            raise HeadraceError(f"There is no app {app!r}", hint=f"here are {', '.join(namespaces)}")
        named = {"Host": f"{app}.{namespaces[app]}.localhost", "Content-Type": "application/json"}
        request = urllib.request.Request(state["ingress"] + path, body, named)  # noqa: S310  # as above
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:  # noqa: S310  # as above
                return json.load(response)
        except urllib.error.HTTPError as fault:
            with fault:
                raise HeadraceError(f"{app}{path} answered {fault.code}: {fault.read().decode()}") from fault

    def until_zero(self, clock: ForwardClock | None = None) -> None:
        """Wait until no service has a replica.

        Args:
            clock: That of :func:`~headrace.testing.app_thread.app_in_thread`: goes on a minute with every look, so that
                idle times pass at once, whatever the autoscaler has yet to notice before they begin.

        Raises:
            DeadlineExceededError: one has one all the time.
        """

        def at_zero() -> bool:
            if clock is not None:
                clock.forward(_MINUTE)
            return not any(self.replicas().values())

        until(at_zero, "no service has a replica")

    def publish(self, topic: str, *files: Path, **options: str) -> dict[str, str]:
        """Publish files; file name -> event id."""
        flags = [word for name, value in options.items() for word in (f"--{name}", value)]
        printed = self.succeed("publish", "--topic", topic, "--output", "json", *flags, *map(str, files))
        return {line["subject"]: line["id"] for line in map(json.loads, printed.splitlines())}

    def read(self, topic: str) -> list[CloudEvent]:
        """Every committed event of a topic."""
        records = read_topic(self.state()["kafka"], topic)
        return [read_record(record, namespace="", name="") for record in records if record]

    def answers(self, topic: str, *ids: str) -> dict[str, CloudEvent]:
        """Event id -> its answer, once all of these have one.

        Raises:
            DeadlineExceededError: one has none in time.
        """

        def found() -> dict[str, CloudEvent]:
            events = (read_record(record, namespace="", name="") for record in scanner.topic(topic))
            known = {event.get("causationid"): event for event in events}
            return known if set(ids) <= known.keys() else {}

        # One connection for all looks: many that are closed at once cost a busy machine more than the reading.
        with Scanner(self.state()["kafka"]) as scanner:
            known = until(found, f"answers on {topic} to {len(ids)} events")
        return {event_id: known[event_id] for event_id in ids}


@contextmanager
def running_app(file: Path, home: Path, *flags: str, **environment: str) -> Iterator[AppRunner]:
    """Run ``headrace up`` on free ports, and end it as Ctrl-C does.

    Args:
        file: The ``headrace.yaml``.
        home: Folder of its state, ``tmp_path`` in a pytest test; its output is in ``up.log`` there.
        *flags: More of the command's options.
        **environment: Added to the environment of all its processes.

    Raises:
        HeadraceError: it does not come up; with what it said.
    """
    around = {**os.environ, "HEADRACE_HOME": str(home), **environment}
    words = ["up", "-f", str(file), "--port", "0", "--kafka-port", "0", *flags]
    log = home / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # this interpreter
            [sys.executable, "-m", "headrace.cli.main", *words], env=around, stdout=output, stderr=output
        )
    try:
        until(lambda: (home / "state.json").exists() or process.poll() is not None, "headrace up is up")
        if process.poll() is not None:
            raise HeadraceError(f"headrace up has ended: {log.read_text()}")
        yield AppRunner(home, process.pid, around)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


__all__ = ["AppRunner", "running_app", "until"]
