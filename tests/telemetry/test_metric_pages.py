"""Every metric of every process: named by the rules, bounded in its labels, and in docs/metrics.md."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.eventing.dispatch import Dispatcher, DispatchSettings
from headrace.eventing.log import Partition
from headrace.eventing.memory import MemoryBroker, MemoryLog
from headrace.eventing.metrics import Sight
from headrace.eventing.results import Responder
from headrace.eventing.sink import Reply
from headrace.local.broker.measures import BrokerMeasures
from headrace.local.broker.server import EmbeddedBroker
from headrace.local.metrics import TwinMeasures
from headrace.local.status import ReplicaStatus, ServiceStatus, TwinStatus, WorkloadStatus
from headrace.models.kserve_api import Model
from headrace.serving.batching.measures import RunMeasures
from headrace.serving.execution.measures import restarts
from headrace.serving.gpus import GpuMeasures
from headrace.serving.hosting import HostedModel
from headrace.serving.metering.measures import UsageMeasures
from headrace.serving.metrics import Metrics
from headrace.serving.repository import Repository, Slot
from headrace.serving.settings import BatchLimits
from headrace.telemetry.metrics.bounded import OTHER, Bounded
from headrace.telemetry.metrics.exposition import Joined, page
from headrace.telemetry.usage.record import Usage
from headrace.testing.sink import MemorySink

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

PAGES = ("dispatcher", "server", "twin", "broker")
LABELS = {
    "outcome", "reason", "status", "topic", "partition", "model", "method", "code", "phase", "device", "tenant",
    "namespace", "service", "state", "workload", "le",
}  # fmt: skip
"""What a label may be of: each is bounded, in docs/metrics.md or by what an operator has made."""
UNITS = ("seconds", "bytes", "ratio")
WRONG_UNITS = ("milliseconds", "ms", "minutes", "hours", "kilobytes", "megabytes", "mb", "percent", "us", "micros")
DOCUMENTED = re.compile(r"^\| `(headrace_\w+)` \| (\w+) \| (.*?) \|", re.MULTILINE)
DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def _dispatcher() -> bytes:
    settings = DispatchSettings(Responder("n", "a", "m", "1"), "dead", replica=8)
    dispatcher = Dispatcher(MemoryLog(MemoryBroker(), "in"), MemorySink(lambda _: Reply(200)), settings)
    metrics = dispatcher.metrics
    for _ in range(60):
        metrics.failed(503, again=True)
    metrics.failed(None, again=False)
    for label in metrics._events, metrics._skipped, metrics._letters:
        label.labels("one")
    metrics.sight = Sight({Partition("in", 0): 3}, 1.5, 2.0, 4, 2)
    return metrics.page()


def _server() -> bytes:
    metrics = Metrics()
    metrics.request("GET", 200)
    metrics.call("ModelInfer", "OK")
    metrics.event("m", "result")
    repository = Repository(budget=1)
    repository.add(Slot("m", hosted=HostedModel(Model("m"), BatchLimits())))
    metrics.watch(repository)
    metrics.started({"import": 1.0, "load": 2.0})
    RunMeasures("m", merged=True)
    restarts().labels("m")
    usage = Usage(
        namespace="n", app="a", component="predictor", replica="r", model="m", revision="1", tenant="acme", events=1,
        compute_seconds=1, cold_start_seconds=1, idle_seconds=1,
    )  # fmt: skip
    UsageMeasures(lambda: 0).told([usage])
    return page(metrics.all)


def _twin() -> bytes:
    service = ServiceStatus("n", "s", "a", "http://x", (), 1, (ReplicaStatus("s-1", "ready", 1, 1, 0),), 0, 0, 1.5, "")
    status = TwinStatus("i", "k", "o", (service,), (WorkloadStatus("n", "w", "running", 1, 0, ""),), ())
    return TwinMeasures(lambda: status).page()


def _broker() -> bytes:
    return page(Joined(BrokerMeasures(EmbeddedBroker(Path("unused")))))


def _page(process: str) -> bytes:
    return {"dispatcher": _dispatcher, "server": _server, "twin": _twin, "broker": _broker}[process]()


def _families(process: str) -> list[Metric]:
    return list(text_string_to_metric_families(_page(process).decode()))


def _own(families: Iterable[Metric]) -> list[Metric]:
    return [family for family in families if family.name.startswith("headrace_")]


def _exposed(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


@pytest.mark.parametrize("process", PAGES)
def test_names_keep_the_rules_of_prometheus(process: str) -> None:
    """A word of help; counters end in _total and nothing else does; units are base units, at the name's end."""
    for family in _own(_families(process)):
        assert family.documentation, family.name
        assert re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", family.name), family.name
        assert not any(family.name.endswith(f"_{unit}") for unit in WRONG_UNITS), family.name
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_created")), family.name
        assert not any(f"_{unit}_" in family.name for unit in UNITS if unit != "seconds"), family.name


@pytest.mark.parametrize("process", PAGES)
def test_labels_are_bounded(process: str) -> None:
    """No label that is not known to have few values: no id, no key, no path."""
    for family in _own(_families(process)):
        assert {name for sample in family.samples for name in sample.labels} <= LABELS, family.name


@pytest.mark.parametrize("process", PAGES)
def test_no_series_says_when_it_was_created(process: str) -> None:
    """It would double the series of every counter and histogram."""
    assert b"_created" not in _page(process)


def test_every_metric_is_documented_with_its_kind_and_labels() -> None:
    """docs/metrics.md and the processes have the same metrics: none is missing on either side."""
    served = {
        _exposed(family): (family.type, {n for s in family.samples for n in s.labels} - {"le"})
        for process in PAGES
        for family in _own(_families(process))
    }
    described = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in DOCUMENTED.findall(DOCS.read_text(encoding="utf-8"))
    }
    assert set(described) == set(served)
    for name, (kind, labels) in served.items():
        assert described[name][0] == kind, name
        assert labels <= described[name][1], name


@pytest.mark.parametrize("process", PAGES)
def test_promtool_finds_nothing(process: str) -> None:
    """`promtool check metrics`, where Prometheus is installed."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool here (Debian package prometheus); the rules above are checked all the same")
    done = subprocess.run([promtool, "check", "metrics"], input=_page(process), capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_values_beyond_the_bound_are_others() -> None:
    """A caller cannot make series at will."""
    bounded = Bounded(2)
    assert [bounded(value) for value in ("a", "b", "c", "a", "d")] == ["a", "b", OTHER, "a", OTHER]


def test_outcomes_and_methods_of_callers_are_bounded() -> None:
    """Codes that users make up, and methods that clients do, end in `other`."""
    metrics = Metrics()
    for number in range(200):
        metrics.event("m", f"code-{number}")
        metrics.request(f"M{number}", 200)
    families = {family.name: family for family in text_string_to_metric_families(page(metrics.all).decode())}
    assert len(families["headrace_events"].samples) == 51
    assert len(families["headrace_http_requests"].samples) == 21


def test_gpus_are_told_where_torch_uses_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory in bytes and use as a ratio, by device; torch is never imported for it, nor CUDA begun."""
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 1,
        memory_allocated=lambda device: 100,
        memory_reserved=lambda device: 200,
        get_device_properties=lambda device: SimpleNamespace(total_memory=1000),
        utilization=lambda device: 25,
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    values = {family.name: [s.value for s in family.samples] for family in GpuMeasures().collect()}
    assert values == {
        "headrace_gpu_memory_used_bytes": [100],
        "headrace_gpu_memory_held_bytes": [200],
        "headrace_gpu_memory_total_bytes": [1000],
        "headrace_gpu_utilization_ratio": [0.25],
    }
    cuda.is_initialized = lambda: False
    assert not any(family.samples for family in GpuMeasures().collect())
