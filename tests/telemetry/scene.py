"""Every part of an event's way in one process: broker, dispatcher, transformer and predictor on real sockets."""

from __future__ import annotations

import asyncio
import socket
import uuid
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from opentelemetry import trace
from opentelemetry.trace import SpanKind, format_trace_id

from headrace.errors import PermanentError, TemporaryError
from headrace.eventing.codec.kafka import read_record
from headrace.eventing.dispatch import Dispatcher, DispatchSettings
from headrace.eventing.event import CloudEvent, new_event
from headrace.eventing.http_sink import HttpSink
from headrace.eventing.kafka.member import KafkaMember
from headrace.eventing.kafka.publisher import Publisher
from headrace.eventing.kafka.scan import Scanner
from headrace.eventing.kafka.topics import TopicSpec, create_topics
from headrace.eventing.results import Responder
from headrace.eventing.retry import RetryPolicy
from headrace.models import tensors
from headrace.models.batching import TensorBatching
from headrace.models.kserve_api import InferRequest, InferResponse, Model, PredictorConfig
from headrace.serving.app import ModelApp
from headrace.serving.front import Front
from headrace.serving.hosting import HostedModel
from headrace.serving.repository import Repository
from headrace.serving.rpc import RpcServer
from headrace.serving.settings import BatchLimits
from headrace.serving.wire.limits import Limits
from headrace.serving.wire.listener import Listener
from headrace.transformers.base import Transformer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from typing_extensions import Self

    from headrace.eventing.batches import BatchLimits as Together

PATIENCE = 40.0
"""Seconds until a scene gives up."""
_KINDS = {kind: "" if kind is SpanKind.INTERNAL else f" {kind.name}" for kind in SpanKind}


class Doubler(TensorBatching, Model):
    """A predictor of a user's, who makes spans by OpenTelemetry's own API; fails as the number tells it to."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.flaky = 2
        """How many requests with 13 in them fail before one is answered."""

    def predict(self, payload: InferRequest, headers: Any = None) -> InferResponse:
        """Twice the numbers."""
        numbers = payload.inputs[0].as_numpy()
        with trace.get_tracer("a user's own").start_as_current_span("look up"):
            if (numbers == 666).any():
                raise PermanentError("666 is refused")
            if (numbers == 13).any() and self.flaky:
                self.flaky -= 1
                raise TemporaryError("13 has bad luck")
            return tensors.new_response(self.name, {"y": numbers * 2})


class Numbers(Transformer):
    """From a number to a tensor, and back."""

    def preprocess(self, payload: Any, headers: Any = None) -> Any:
        """The tensor."""
        return tensors.new_request(self.name, {"x": np.array([[payload["n"]]], np.int64)})

    def postprocess(self, result: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """The number."""
        return {"n": int(result.outputs[0].as_numpy()[0, 0])}


class ColdFront(Front):
    """Is ready only when it has been knocked at so many times."""

    knocks = 0

    async def ready(self) -> bool:
        """Whether it was knocked at often enough."""
        self.knocks -= 1
        return self.knocks < 0 and await super().ready()


class Served:
    """One model behind an HTTP port and a gRPC port, not ready before it was knocked at ``cold`` times."""

    def __init__(self, model: Any, predictor: PredictorConfig | None = None, cold: int = 0) -> None:
        model.ready = True
        self.hosted = HostedModel(model, BatchLimits(), predictor)
        self.front = ColdFront(model.name)
        self.front.knocks = cold
        self.front.application = ModelApp(Repository([self.hosted]), Responder("ns", "app", model.name, "1"))
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.rpc = RpcServer(self.front, 1 << 20)
        self._listener = Listener(self.socket, self.front, Limits())

    async def open(self) -> None:
        """Listen."""
        await self._listener.open()
        await self.rpc.open("127.0.0.1", 0)

    async def close(self) -> None:
        """End."""
        await self._listener.close(0.0)
        await self.rpc.close(0.0)
        await self.hosted.stop()


class Scene:
    """See the module.

    Args:
        kafka: A broker.
        rpc: Whether the transformer asks its predictor over gRPC.
        cold: How often the transformer is knocked at before it is there.
    """

    def __init__(self, kafka: str, *, rpc: bool = False, cold: int = 0) -> None:
        self.kafka = kafka
        self.topic = f"in-{uuid.uuid4().hex[:8]}"
        self.results = f"{self.topic}.out"
        self.letters = f"{self.topic}.dead"
        self._rpc = rpc
        self._cold = cold
        self._ending = AsyncExitStack()

    async def __aenter__(self) -> Self:
        specs = [TopicSpec(name, 1) for name in (self.topic, self.results, self.letters)]
        await asyncio.to_thread(create_topics, self.kafka, specs)
        # One for all looks: kafka-python leaks a socket now and then where a consumer is closed right after its start.
        self._scanner = self._ending.enter_context(Scanner(self.kafka))
        self.predictor = Served(Doubler("m"))
        await self._open(self.predictor)
        port = self.predictor.rpc.port if self._rpc else self.predictor.port
        config = PredictorConfig(f"127.0.0.1:{port}", predictor_protocol="grpc-v2" if self._rpc else "v2")
        self.transformer = Served(Numbers("m"), config, self._cold)
        await self._open(self.transformer)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._ending.aclose()

    @property
    def url(self) -> str:
        """Where events are posted."""
        return f"http://127.0.0.1:{self.transformer.port}/"

    async def publish(self, *numbers: int, **attributes: str) -> list[CloudEvent]:
        """Publish an event with each number."""
        base = {"specversion": "1.0", "source": "/s", "type": "t", "datacontenttype": "application/json", **attributes}
        events = [new_event({**base, "id": str(uuid.uuid4())}, b'{"n": %d}' % number) for number in numbers]

        def send() -> None:
            with Publisher(self.kafka) as publisher:
                publisher.publish(self.topic, events)

        await asyncio.to_thread(send)
        return events

    async def dispatch(self, answers: int, batch: Together | None = None) -> list[CloudEvent]:
        """Run a dispatcher until there are so many answers in all; the answers."""
        settings = DispatchSettings(
            Responder("ns", "app", "m", "1"),
            self.letters,
            self.results,
            batch=batch,
            retry=RetryPolicy(attempts=4, delay=0.01, max_delay=0.02),
            group="app",
        )
        member = KafkaMember(self.kafka, topic=self.topic, group=self.topic)
        sink = HttpSink(self.url)
        stop = asyncio.Event()
        running = asyncio.ensure_future(Dispatcher(member, sink, settings).run(stop))
        try:
            found = await self._until(running, lambda: self._read(self.results), answers)
        finally:
            stop.set()
            await running
            await sink.close()
        return found

    def _read(self, topic: str) -> list[CloudEvent]:
        return [read_record(record, namespace="", name="") for record in self._scanner.topic(topic)]

    async def _until(
        self, running: asyncio.Future[None], read: Callable[[], list[CloudEvent]], count: int
    ) -> list[CloudEvent]:
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while len(found := await asyncio.to_thread(read)) < count:
            assert not running.done(), running.result()
            assert asyncio.get_running_loop().time() < deadline, f"{len(found)} answers of {count}"
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(running), 0.1)
        return found

    async def _open(self, served: Served) -> None:
        await served.open()
        self._ending.push_async_callback(served.close)


def outline(spans: Sequence[ReadableSpan], trace_id: str, topic: str = "") -> str:
    """The tree of one trace as indented names and kinds, the children by start; span events stand after a dot.

    Orphans begin with a question mark; the scene's topic is called ``in``.
    """
    own = [span for span in spans if format_trace_id(span.context.trace_id) == trace_id]
    ids = {span.context.span_id for span in own}
    lines: list[str] = []

    def add(span: ReadableSpan, depth: int, mark: str = "") -> None:
        name = span.name.replace(topic, "in") if topic else span.name
        lines.append(f"{'  ' * depth}{mark}{name}{_KINDS[span.kind]}")
        lines.extend(f"{'  ' * (depth + 1)}· {event.name}" for event in span.events)
        below = [one for one in own if one.parent and one.parent.span_id == span.context.span_id]
        for child in sorted(below, key=lambda one: (one.start_time or 0, one.name)):
            add(child, depth + 1)

    for span in sorted(own, key=lambda one: one.start_time or 0):
        if span.parent is None:
            add(span, 0)
        elif span.parent.span_id not in ids:
            add(span, 0, "" if span.parent.is_remote else "?")
    return "\n".join(lines)
