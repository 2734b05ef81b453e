"""One broker, one sink and some dispatchers, each of which a fault can hit; dispatchers come back by themselves."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import confluent_kafka

from headrace.eventing.moments import moment_of
from headrace.local.broker import BrokerSettings
from headrace.testing.app import until
from headrace.testing.broker import BrokerProcess

from .receiver import Receiver
from .tally import GROUP, Batch, everything
from .topics import PATIENCE, WAIT, Topics

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

APP = """\
apiVersion: headrace.dev/v1alpha1
kind: InferenceApp
metadata: {name: faults, namespace: tests}
spec:
  predictor: {class: "headrace.predictors.efficientnet:EfficientNetLite"}
  trigger:
    topic: in
    partitions: 4
    ordering: key
    timeout: 20s
    retry: {attempts: 6, delay: 50ms, maxDelay: 200ms}
    deadLetters: dead
  results: {topic: out}
"""
JUMPING_CLOCK = '''\
"""The wall clock of this process is off by the seconds in a file, which may change at any time."""

import os
import time

_wall, _steady, _known = time.time, time.monotonic, [-1.0, 0.0]


def _off():
    if _steady() - _known[0] > 0.05:
        _known[:] = _steady(), float(open(os.environ["CLOCK"]).read() or 0)
    return _known[1]


time.time = lambda: _wall() + _off()
time.time_ns = lambda: int(time.time() * 1e9)
'''


class Dispatcher:
    """``headrace dispatch``, started again whenever it ends, as Kubernetes does.

    Args:
        name: Of the pod.
        folder: With the app's file; gets the output.
        kafka: The broker's address.
        sink: The receiver's URL.
    """

    def __init__(self, name: str, folder: Path, kafka: str, sink: str) -> None:
        self._log = folder / f"{name}.log"
        self._environment = {**os.environ, "POD_NAME": name}
        file = str(folder / "headrace.yaml")
        self._words = ["dispatch", "-f", file, "--app", "faults", "--kafka", kafka, "--sink", sink]
        self._process: subprocess.Popen[bytes] | None = None
        self._ends = False
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """End it with SIGKILL; it comes back."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        """End it with SIGTERM, for good."""
        self._ends = True
        if self._process is not None:
            self._process.terminate()
        self._thread.join(WAIT)
        self.kill()
        self._thread.join()

    def _keep(self) -> None:
        while not self._ends:
            with self._log.open("ab") as output:
                command = [sys.executable, "-m", "headrace.cli.main", *self._words]
                self._process = subprocess.Popen(command, env=self._environment, stdout=output, stderr=output)
                self._process.wait()


class Scene(Topics):
    """What a fault is made in.

    Args:
        folder: An empty one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clock = folder / "clock"
        self.receiver = Receiver()
        self.broker = BrokerProcess(folder / "kafka", BrokerSettings(auto_create_topics=False))
        self.dispatchers: list[Dispatcher] = []

    @property
    def bootstrap(self) -> str:
        """Where the broker is, dead or alive."""
        return self.broker.bootstrap

    @property
    def got(self) -> Counter[str]:
        """Deliveries by event id."""
        return self.receiver.got

    def open(self) -> None:
        """Start the broker, the sink and two dispatchers; the clocks of all processes can jump."""
        (self._folder / "headrace.yaml").write_text(APP)
        (self._folder / "sitecustomize.py").write_text(JUMPING_CLOCK)
        self.jump(0)
        os.environ |= {"CLOCK": str(self._clock), "PYTHONPATH": str(self._folder)}
        self.receiver.open()
        self.broker.start()
        for name, partitions in (("in", 4), ("out", 4), ("dead", 1)):
            self.create(name, partitions)
        for name in ("d-0", "d-1"):
            self.add_dispatcher(name)
        self.until_members(2)

    def close(self) -> None:
        """End everything."""
        for one in self.dispatchers:
            one.stop()
        self.broker.stop()
        self.receiver.close()

    def add_dispatcher(self, name: str) -> Dispatcher:
        """One more member of the group."""
        self.dispatchers.append(Dispatcher(name, self._folder, self.broker.bootstrap, self.receiver.url))
        return self.dispatchers[-1]

    def remove_dispatcher(self, one: Dispatcher) -> None:
        """Stop a member in an orderly way."""
        self.dispatchers.remove(one)
        one.stop()

    def until_members(self, count: int) -> None:
        """Wait until the group has this many members, each with partitions."""
        admin = self._admin()

        def is_so() -> bool:
            with suppress(confluent_kafka.KafkaException):
                members = admin.describe_consumer_groups([GROUP])[GROUP].result(WAIT).members
                return len(members) == count and all(one.assignment.topic_partitions for one in members)
            return False

        until(is_so, f"the group has {count} members", PATIENCE)

    def times(self, batch: Batch) -> list[float]:
        """When each answer was produced, by the clock of its dispatcher, in seconds since 1970."""
        found = [dict(record.headers()) for record in everything(self.bootstrap, "out")]
        ours = [one for one in found if one["ce_causationid"].decode() in batch.ids]
        return [moment_of(one["ce_time"].decode()) or 0.0 for one in ours]

    def restart_broker(self) -> None:
        """SIGKILL, and a new start on the same port."""
        self.broker.kill()
        self.broker.restart()

    def fill_disk(self) -> None:
        """From now on the broker can write nothing."""
        _soft, hard = resource.prlimit(self.broker.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.broker.pid, resource.RLIMIT_FSIZE, (1, hard))

    def free_disk(self) -> None:
        """It can again."""
        _soft, hard = resource.prlimit(self.broker.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.broker.pid, resource.RLIMIT_FSIZE, (hard, hard))

    def jump(self, seconds: float) -> None:
        """Set the wall clocks of broker and dispatchers off by these seconds."""
        draft = self._clock.with_suffix(".new")
        draft.write_text(str(seconds))
        draft.replace(self._clock)
