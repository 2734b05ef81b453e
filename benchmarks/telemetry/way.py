"""An event's way in one process: published, dispatched, through a transformer and a predictor over HTTP, and answered.

The log is one in memory: what Kafka's clients cost is no cost of telemetry. Everything else is what runs in a cluster.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
from opentelemetry.context import Context

from headrace.errors import TemporaryError
from headrace.eventing import spans
from headrace.eventing.batches import BatchLimits as Together
from headrace.eventing.codec.kafka import write_record
from headrace.eventing.dispatch import Dispatcher, DispatchSettings
from headrace.eventing.event import new_event
from headrace.eventing.http_sink import HttpSink
from headrace.eventing.memory import MemoryBroker, MemoryLog
from headrace.eventing.results import Responder
from headrace.eventing.retry import RetryPolicy
from headrace.models import tensors
from headrace.models.batching import TensorBatching
from headrace.models.kserve_api import InferRequest, InferResponse, Model, PredictorConfig
from headrace.serving.app import ModelApp
from headrace.serving.front import Front
from headrace.serving.hosting import HostedModel
from headrace.serving.repository import Repository
from headrace.serving.settings import BatchLimits
from headrace.serving.wire.limits import Limits
from headrace.serving.wire.listener import Listener
from headrace.telemetry import tracing
from headrace.transformers.base import Transformer

if TYPE_CHECKING:
    from typing_extensions import Self

_TRACER = tracing.tracer(__name__)
_BASE = {"specversion": "1.0", "source": "/bench", "type": "t", "datacontenttype": "application/json"}


class Echo(TensorBatching, Model):
    """A predictor that answers what it is asked.

    Args:
        name: Its name.
        unlucky: One number of so many fails when it is asked for the first time; 0 for none.
    """

    def __init__(self, name: str, unlucky: int = 0) -> None:
        super().__init__(name)
        self._unlucky = unlucky
        self._met: set[int] = set()

    def predict(self, payload: InferRequest, headers: Any = None) -> InferResponse:  # noqa: ARG002  # KServe's hook
        """The numbers."""
        if self._unlucky:
            self._fail(payload.inputs[0].as_numpy().ravel().tolist())
        return tensors.new_response(self.name, {"y": payload.inputs[0].as_numpy()})

    def _fail(self, numbers: list[int]) -> None:
        unlucky = {number for number in numbers if not number % self._unlucky} - self._met
        if unlucky:
            self._met |= unlucky
            raise TemporaryError(f"bad luck with {min(unlucky)}")


class ColdFront(Front):
    """Is not ready before it was knocked at so many times."""

    knocks = 0

    async def ready(self) -> bool:
        """Whether it was knocked at often enough."""
        self.knocks -= 1
        return self.knocks < 0 and await super().ready()


class Numbers(Transformer):
    """A transformer from a number to a tensor, and back."""

    def preprocess(self, payload: Any, headers: Any = None) -> Any:  # noqa: ARG002  # KServe's hook
        """The tensor."""
        return tensors.new_request(self.name, {"x": np.array([[payload["n"]]], np.int64)})

    def postprocess(self, result: Any, *_: Any) -> Any:
        """The number."""
        return {"n": int(result.outputs[0].as_numpy()[0, 0])}


class Way:
    """The parts that stay while rounds come and go.

    Args:
        knocks: How often the transformer is knocked at before it is there.
        unlucky: One event of so many fails when the predictor sees it for the first time; 0 for none.
    """

    def __init__(self, knocks: int = 0, unlucky: int = 0) -> None:
        self._knocks = knocks
        self._unlucky = unlucky
        self._ending = AsyncExitStack()
        self._url = ""

    async def __aenter__(self) -> Self:
        port = await self._serve(Echo("m", self._unlucky))
        config = PredictorConfig(f"127.0.0.1:{port}", predictor_protocol="v2")
        port = await self._serve(Numbers("m"), config, self._knocks)
        self._url = f"http://127.0.0.1:{port}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._ending.aclose()

    async def go(self, events: int, batch: int) -> None:
        """Publish so many events and wait for their answers; in batches where ``batch`` is over 1."""
        broker = MemoryBroker()
        for number in range(events):
            _publish(broker, number)
        together = Together(size=batch, delay=0.05) if batch > 1 else None
        settings = DispatchSettings(
            Responder("ns", "app", "m", "1"),
            "dead",
            "out",
            batch=together,
            concurrency=64,
            retry=RetryPolicy(attempts=20, delay=0.01, max_delay=0.1),
        )
        sink, stop = HttpSink(self._url), asyncio.Event()
        running = asyncio.ensure_future(Dispatcher(MemoryLog(broker, "in"), sink, settings).run(stop))
        while len(broker.records("out")) < events and not running.done():  # noqa: ASYNC110  # told by no event
            await asyncio.sleep(0.02)
        stop.set()
        await running
        await sink.close()

    async def _serve(self, model: Any, predictor: PredictorConfig | None = None, knocks: int = 0) -> int:
        model.ready = True
        hosted, front = HostedModel(model, BatchLimits(), predictor), ColdFront(model.name)
        front.knocks = knocks
        front.application = ModelApp(Repository([hosted]), Responder("ns", "app", model.name, "1"))
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        listener = Listener(listening, front, Limits())
        await listener.open()
        self._ending.push_async_callback(hosted.stop)
        self._ending.push_async_callback(listener.close, 0.0)
        return int(listening.getsockname()[1])


def _publish(broker: MemoryBroker, number: int) -> None:
    """As ``headrace.eventing.kafka.publisher`` does, but for Kafka."""
    event = new_event({**_BASE, "id": str(number)}, b'{"n": %d}' % number)
    span = _TRACER.start_span("publish in", Context(), kind=tracing.SpanKind.PRODUCER)
    tracing.describe(span, spans.publishing, "in", event)
    broker.append(write_record(event, "in", trace=tracing.inject(span)))
    span.end()
