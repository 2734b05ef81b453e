"""What a server tells of usage: whose events, how much, and shares that add up."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from headrace.errors import PermanentError
from headrace.models import tensors
from headrace.models.batching import TensorBatching
from headrace.models.kserve_api import InferRequest, Model
from headrace.serving.metering.meter import Meter, Metered
from headrace.serving.metering.setup import meter_of, place_of
from headrace.serving.settings import BatchLimits
from headrace.telemetry.usage import inner
from headrace.telemetry.usage.record import Place, Usage
from headrace.telemetry.usage.tenant import TenantRule

from .conftest import EVENT, IDENTITY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.eventing.event import CloudEvent

    from .conftest import Server


@dataclass
class _Kept:
    """Keeps what is sent."""

    dropped: int = 0
    events: list[CloudEvent] = field(default_factory=list)

    def put(self, events: Sequence[CloudEvent]) -> None:
        self.events += events

    def close(self, seconds: float) -> None:
        pass

    @property
    def usages(self) -> list[Usage]:
        return [Usage.from_data(orjson.loads(event.data or b"")) for event in self.events]


class _Echo(Model):
    """Answers what it is asked, and refuses `no`."""

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        if payload == "no":
            raise PermanentError("refused")
        return payload


class _Rows(TensorBatching, Model):
    """Takes batches; a run takes 20 ms."""

    def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> Any:
        threading.Event().wait(0.02)  # a run that takes time
        return tensors.new_response("m", {"y": payload.inputs[0].as_numpy()})


class _Asks(Model):
    """A transformer: it is worked on from its coming on, and keeps the headers that it saw."""

    seen: dict[str, str]

    async def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        self.seen = dict(headers or {})
        return payload


def _meter(kept: _Kept, component: str = "predictor", tenant: str = "attribute:tenant", weight: float = 1.0) -> Meter:
    place = Place(namespace="vision", app="labels", component=component, replica="r-1", cpu=2, memory_bytes=1 << 30)
    rule = TenantRule.parse(tenant)
    meter = Meter(Metered(place, "m", "7", rule, weight, time.time() - 5), kept, interval=3600)
    meter.ready()
    return meter


def _metered(server: Server, meter: Meter) -> None:
    server.hosted._meter = meter


@pytest.fixture
def kept() -> _Kept:
    """Where usage goes in a test."""
    return _Kept()


async def _post(server: Server, value: Any, **attributes: str) -> int:
    named = {**EVENT, **{f"ce-{name}": text for name, text in attributes.items()}, "content-type": "application/json"}
    return (await server.ask("POST", "/", orjson.dumps(value), named)).status


def test_each_event_is_told_with_its_tenant_its_bytes_and_its_end(serving: Callable[..., Any], kept: _Kept) -> None:
    """A result and an error, of two tenants: one record each, beside what nobody asked for."""

    async def use(server: Server) -> None:
        _metered(server, meter := _meter(kept))
        assert await _post(server, "yes", tenant="acme", id="a") == 200
        assert await _post(server, "no", id="b") == 422
        meter.close()

    serving(_Echo("m"), use)
    told = {usage.event_id: usage for usage in kept.usages}
    assert (told["a"].tenant, told["a"].outcome, told["a"].bytes) == ("acme", "result", len('"yes"'))
    assert (told["b"].tenant, told["b"].outcome, told["b"].events) == ("anonymous", "permanent", 1)
    assert {(usage.app, usage.revision, usage.replica, usage.cpu) for usage in kept.usages} == {
        ("labels", "7", "r-1", 2)
    }


def test_what_is_told_is_the_life_of_the_process(serving: Callable[..., Any], kept: _Kept) -> None:
    """Compute, start and idle of all records are the seconds from the process's start to the meter's end."""

    async def use(server: Server) -> None:
        began = time.time() - 5
        _metered(server, meter := _meter(kept))
        await server.post("/v2/models/m/infer", _rows(3), ce_tenant="acme")
        meter.close()
        kept.lived = time.time() - began  # type: ignore[attr-defined]

    serving(_Rows("m"), use, BatchLimits(max_size=8))
    assert sum(usage.replica_seconds for usage in kept.usages) == pytest.approx(kept.lived, abs=0.05)  # type: ignore[attr-defined]
    assert sum(usage.cold_start_seconds for usage in kept.usages) == pytest.approx(5, abs=0.05)


def _rows(count: int) -> dict[str, Any]:
    data = np.zeros((count, 2), np.float32)
    return {"inputs": [{"name": "x", "shape": [count, 2], "datatype": "FP32", "data": data.ravel().tolist()}]}


def test_a_batch_of_events_is_shared_by_rows(serving: Callable[..., Any], kept: _Kept) -> None:
    """Events of one request that one run answers: the parts of the run are those of their rows."""

    async def use(server: Server) -> None:
        _metered(server, meter := _meter(kept))
        events = [
            {"specversion": "1.0", "id": str(rows), "source": "/s", "type": "t", "tenant": "acme", "data": _rows(rows)}
            for rows in (1, 3)
        ]
        batch = {"content-type": "application/cloudevents-batch+json"}
        assert (await server.ask("POST", "/v2/models/m/infer", orjson.dumps(events), batch)).status == 200
        meter.close()

    serving(_Rows("m"), use, BatchLimits(max_size=8))
    one, three = sorted((usage for usage in kept.usages if usage.events), key=lambda usage: usage.items)
    assert (one.items, three.items, one.batch_size, one.batch_share) == (1, 3, 2, 0.25)
    assert three.compute_seconds == pytest.approx(3 * one.compute_seconds)
    assert three.idle_seconds == pytest.approx(3 * one.idle_seconds)
    assert one.bytes < three.bytes


def test_a_predictor_counts_the_event_of_its_transformer_once(serving: Callable[..., Any], kept: _Kept) -> None:
    """The transformer says whose the event is; the predictor's record has the tenant and counts no event more."""

    async def ask(server: Server) -> None:
        _metered(server, meter := _meter(kept, "transformer"))
        await _post(server, "yes", tenant="acme", id="a")
        meter.close()

    async def infer(server: Server) -> None:
        _metered(server, meter := _meter(kept))
        await server.ask(
            "POST", "/v1/models/m:predict", b'{"instances":[1,2]}', {inner.HEADER: asked.seen[inner.HEADER]}
        )
        meter.close()

    asked = _Asks("m")
    serving(asked, ask)
    serving(_Echo("m"), infer)
    told = {usage.component: usage for usage in kept.usages if usage.event_id == "a"}
    assert {name: usage.events for name, usage in told.items()} == {"transformer": 1, "predictor": 0}
    assert {usage.tenant for usage in told.values()} == {"acme"}
    assert told["predictor"].items == 2
    assert told["transformer"].compute_seconds > 0


def test_a_key_is_never_told(serving: Callable[..., Any], kept: _Kept) -> None:
    """A tenant by API key is a fingerprint of it, the same for the key with and without `Bearer`."""

    async def use(server: Server) -> None:
        _metered(server, meter := _meter(kept, tenant="apiKey:authorization"))
        await server.post("/v1/models/m:predict", {"instances": [1]}, authorization="Bearer planted-secret")
        await server.post("/v1/models/m:predict", {"instances": [1]}, authorization="planted-secret")
        meter.close()

    serving(_Echo("m"), use)
    (tenant,) = {usage.tenant for usage in kept.usages if usage.events}
    assert tenant.startswith("key-")
    assert b"planted" not in b"".join(event.data or b"" for event in kept.events)
    assert "planted" not in str([event.attributes for event in kept.events])


def test_a_worker_has_its_part_of_the_replica(kept: _Kept) -> None:
    """Of two workers each tells half of its seconds: together they are the replica's."""
    meter = _meter(kept, weight=0.5)
    meter.close()
    assert sum(usage.replica_seconds for usage in kept.usages) == pytest.approx(2.5, abs=0.1)


def test_what_is_told_is_read_by_openmeter(serving: Callable[..., Any], kept: _Kept) -> None:
    """CloudEvents with a subject, an id of their own, and numbers as numbers in JSON data."""

    async def use(server: Server) -> None:
        _metered(server, meter := _meter(kept))
        await _post(server, "yes", tenant="acme")
        meter.close()

    serving(_Echo("m"), use)
    event = kept.events[0]
    assert (event.type, event.source, event.get("subject")) == (
        "dev.headrace.usage.v1",
        "/headrace/vision/labels",
        "acme",
    )
    assert len({event.id for event in kept.events}) == len(kept.events)
    data = orjson.loads(event.data or b"")
    assert isinstance(data["replica_seconds"], float)
    assert event.content_type == "application/json"


def test_nothing_is_metered_unless_it_is_asked_for() -> None:
    """Without a topic there is no meter, and no Kafka client."""
    assert meter_of(IDENTITY, "predictor", environment={}) is None


def test_a_replica_has_the_name_and_the_size_that_the_environment_says() -> None:
    """The pod's name where no other is given; what a replica holds as the manifest says."""
    environment = {"HOSTNAME": "pod-1", "HEADRACE_REPLICA_SIZE": "cpu=0.5,memory=1024,gpu=1"}
    place = place_of(IDENTITY, "predictor", environment)
    assert (place.replica, place.cpu, place.memory_bytes, place.gpu) == ("pod-1", 0.5, 1024, 1)
    assert place_of(IDENTITY, "predictor", {**environment, "HEADRACE_REPLICA": "pod-1-abc"}).replica == "pod-1-abc"
