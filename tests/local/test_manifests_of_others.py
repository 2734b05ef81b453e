"""`headrace up` on YAML that somebody else wrote: its containers run Python that is installed here."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headrace.eventing.codec.kafka import read_record
from headrace.eventing.kafka.reader import read_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONTAINERS = Path(__file__).parent / "containers"
pytestmark = pytest.mark.timeout(240)

SITE = """
apiVersion: v1
kind: Namespace
metadata: {name: web}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: site, namespace: web}
spec:
  template:
    metadata:
      annotations: {autoscaling.knative.dev/max-scale: "1"}
    spec:
      nodeSelector: {disk: ssd}
      containers:
        - image: registry.example/site:1
          command: [python, -m, http.server, --bind, 0.0.0.0, "8080"]
          ports: [{containerPort: 8080}]
"""

FLOW = """
apiVersion: v1
kind: List
items:
- {apiVersion: eventing.knative.dev/v1, kind: Broker, metadata: {name: orders, namespace: shop}}
- apiVersion: serving.knative.dev/v1
  kind: Service
  metadata: {name: worker, namespace: shop}
  spec:
    template:
      spec:
        containers:
        - image: registry.example/worker:1
          command: [python3, LISTENER]
          env:
          - {name: JOURNAL, value: JOURNALS/worker}
          - {name: REPLY, value: order.done}
- apiVersion: eventing.knative.dev/v1
  kind: Trigger
  metadata: {name: new-orders, namespace: shop}
  spec:
    broker: orders
    filter: {attributes: {type: order.new}}
    subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: worker}, uri: /work}
- apiVersion: eventing.knative.dev/v1alpha1
  kind: KafkaSink
  metadata: {name: archive, namespace: shop}
  spec: {topic: shop.archive, bootstrapServers: ["kafka.example:9092"], numPartitions: 1}
- apiVersion: eventing.knative.dev/v1
  kind: Trigger
  metadata: {name: done-orders, namespace: shop}
  spec:
    broker: orders
    filters: [{exact: {type: order.done}}]
    subscriber: {ref: {apiVersion: eventing.knative.dev/v1alpha1, kind: KafkaSink, name: archive}}
- apiVersion: serving.knative.dev/v1
  kind: Service
  metadata: {name: broken, namespace: shop}
  spec:
    template:
      spec:
        containers:
        - image: registry.example/broken:1
          command: [python3, LISTENER]
          env:
          - {name: JOURNAL, value: JOURNALS/broken}
          - {name: FAIL, value: "500"}
- apiVersion: sources.knative.dev/v1
  kind: KafkaSource
  metadata: {name: again, namespace: shop}
  spec:
    topics: [shop.archive]
    bootstrapServers: ["kafka.example:9092"]
    ceOverrides: {extensions: {origin: archive}}
    sink: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: broken}}
    delivery:
      retry: 1
      backoffPolicy: linear
      backoffDelay: PT0.1S
      deadLetterSink: {ref: {apiVersion: eventing.knative.dev/v1alpha1, kind: KafkaSink, name: letters}}
- apiVersion: eventing.knative.dev/v1alpha1
  kind: KafkaSink
  metadata: {name: letters, namespace: shop}
  spec: {topic: shop.letters, bootstrapServers: ["kafka.example:9092"], numPartitions: 1}
"""


@contextmanager
def up(folder: Path, home: Path, *options: str) -> Iterator[dict[str, str]]:
    """`headrace up FOLDER` as a process; the lines of its welcome by their last word before the URL."""
    command = [sys.executable, "-m", "headrace.cli.main", "up", str(folder), "--port", "0", *options]
    errors = home.with_suffix(".err")
    with errors.open("w") as told:
        process = subprocess.Popen(
            command,
            env={**os.environ, "HEADRACE_HOME": str(home)},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
        )
        assert process.stdout is not None
        try:
            lines: dict[str, str] = {"errors": str(errors)}
            for line in process.stdout:
                if line.startswith("Ctrl-C"):
                    break
                what, _, url = line.strip().rpartition(" ")
                lines[" ".join(what.split()).rstrip(":")] = url
            assert process.poll() is None, errors.read_text()
            yield lines
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            process.stdout.close()


def until(condition: Callable[[], Any], seconds: float = 90.0) -> Any:
    """What it is once it is something."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        pause = 0.1
        time.sleep(pause)
    return found


def test_a_plain_knative_service_runs(tmp_path: Path) -> None:
    """Nobody thought of Headrace when this was written: it answers by its host, and what does nothing is named."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "site.yaml").write_text(SITE)
    (folder / "hello.txt").write_text("hello")
    with up(folder, tmp_path / "home", "--kafka", "127.0.0.1:9") as lines:
        assert re.match(r"http://site\.web\.localhost:\d+", lines["service web/site"])
        request = urllib.request.Request(f"{lines['ingress']}/hello.txt", headers={"Host": "site.web.localhost"})
        with urllib.request.urlopen(request, timeout=90) as response:
            assert response.read() == b"hello"
        errors = Path(lines["errors"]).read_text()
    assert "not run here: Namespace default/web: this kind means nothing to the local twin" in errors
    assert (
        "does nothing here: Service web/site: spec.template.spec.nodeSelector: this machine is the only node" in errors
    )


def test_a_mistake_is_told_without_a_traceback(tmp_path: Path) -> None:
    """Every one, with the resource and its path, and exit code 2 as for any wrong usage."""
    (tmp_path / "broken.yaml").write_text(SITE.replace("command:", "entrypoint:") + "---\n- [\n")
    (tmp_path / "fine.yaml").write_text(SITE)
    command = [sys.executable, "-m", "headrace.cli.main", "up"]
    for place, words in (("broken.yaml", "broken.yaml: "), ("nowhere", "No manifests at")):
        done = subprocess.run(
            [*command, str(tmp_path / place)],
            env={**os.environ, "HEADRACE_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (1, 2)
        assert words in " ".join(done.stderr.split()), done.stderr
        assert "Traceback" not in done.stderr


def test_events_flow_from_a_broker_through_triggers_to_a_sink(tmp_path: Path) -> None:
    """Posted to the Broker, filtered, answered, the answer filtered and kept; then from the topic on, and given up."""
    folder, journals = tmp_path / "manifests", tmp_path / "journals"
    folder.mkdir()
    journals.mkdir()
    text = FLOW.replace("LISTENER", str(CONTAINERS / "listener.py")).replace("JOURNALS", str(journals))
    (folder / "flow.yml").write_text(text)
    with up(folder, tmp_path / "home", "--kafka-port", "0") as lines:
        kafka = lines["Kafka"]
        url = lines["events broker shop/orders"]
        for number, kind in enumerate(("order.new", "order.other", "order.new")):
            assert until(lambda n=number, k=kind: _post(url, str(n), k)) == 202  # type: ignore[misc] # bound now
        assert _refused(url, b"no event") == 400
        worked = until(lambda: _lines(journals / "worker", 2))
        assert {(event["id"], event["path"]) for event in worked} == {("0", "/work"), ("2", "/work")}
        archived = until(lambda: _all(kafka, "shop.archive", 2))
        assert {(event.id, event.type, event.data) for event in archived} == {
            ("re-0", "order.done", b"0"),
            ("re-2", "order.done", b"2"),
        }
        # Two attempts each, with the source's extension; then the dead letter sink, with Knative's word for why.
        tried = until(lambda: _lines(journals / "broken", 4))
        assert {event["origin"] for event in tried} == {"archive"}
        letters = until(lambda: _all(kafka, "shop.letters", 2))
        assert {(event.id, event.get("knativeerrorcode")) for event in letters} == {("re-0", "500"), ("re-2", "500")}
    assert len(_lines(journals / "worker", 0)) == 2, "the other one was not meant"


def _post(url: str, number: str, kind: str) -> int:
    headers = {"ce-specversion": "1.0", "ce-id": number, "ce-source": "/test", "ce-type": kind}
    request = urllib.request.Request(url, number.encode(), {**headers, "Content-Type": "text/plain"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return int(response.status)
    except (urllib.error.URLError, ConnectionError):
        return 0


def _refused(url: str, body: bytes) -> int:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(url, body), timeout=60)
    with caught.value as answer:
        return int(answer.code)


def _lines(file: Path, least: int) -> list[dict[str, str]]:
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return found if len(found) >= least else []


def _all(kafka: str, topic: str, least: int) -> list[Any]:
    found = [read_record(record, namespace="", name="") for record in read_topic(kafka, topic) if record]
    return found if len(found) >= least else []
