"""Knative's Kafka data plane in miniature: one process that takes events for Brokers and KafkaSinks, and delivers.

Belongs to the twin; ``python -m headrace.local.eventing_plane FILE`` runs it. The file says what there is (JSON), the
environment where Kafka is. Deliveries are Headrace's dispatcher, which loses nothing; what is Knative's about them is
in :mod:`headrace.local.knative_sink`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from headrace.errors import HeadraceError, InvalidEventError
from headrace.eventing.codec import http, json_format
from headrace.eventing.codec.http import HttpMessage, Mode
from headrace.eventing.dispatch import Dispatcher, DispatchSettings
from headrace.eventing.filters import compile_filters
from headrace.eventing.kafka.environment import kafka_settings
from headrace.eventing.kafka.member import KafkaMember
from headrace.eventing.kafka.publisher import Publisher
from headrace.eventing.results import Responder
from headrace.local.commands import Command, Surroundings, localised
from headrace.local.knative_sink import KnativeRetry, KnativeSink, OnlyEvents
from headrace.local.resources import Delivery, EventIngress, Name
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.local.resources import Plan

EVENTING = "knative-eventing"
UNORDERED = 100
"""Events of one unordered delivery under way at once, as of one consumer of Knative's."""
_LARGEST = 64 * 1024 * 1024
_log = logging.getLogger(__name__)


def eventing_command(plan: Plan, around: Surroundings, port: int, file: Path) -> Command:
    """The process for the plan's ingresses and deliveries; what it reads is written to ``file``."""
    deliveries = [{**asdict(each), "url": localised(each.url, around.addresses)} for each in plan.deliveries]
    document = {"port": port, "ingresses": [asdict(each) for each in plan.ingresses], "deliveries": deliveries}
    file.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    environment = {**around.environment, "KAFKA_BOOTSTRAP_SERVERS": around.kafka, "OTEL_SERVICE_NAME": EVENTING}
    return Command((sys.executable, "-m", __name__, str(file)), environment)


class Ingresses:
    """``POST /broker|sink/NAMESPACE/NAME``: one CloudEvent into a topic, 202 once Kafka has it."""

    def __init__(self, ingresses: Mapping[str, EventIngress], kafka: KafkaSettings) -> None:
        self._ingresses = ingresses
        self._kafka = kafka
        self._publisher: Publisher | None = None
        self._lock = asyncio.Lock()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """202, or Knative's refusals: 405 for another method, 404 for an unknown place, 400 for no event, 503."""
        if request.method != "POST":
            return web.Response(status=405)
        ingress = self._ingresses.get(request.path.rstrip("/"))
        if ingress is None:
            return web.Response(status=404, text=f"nothing takes events at {request.path}")
        try:
            event = _read(HttpMessage({k.lower(): v for k, v in request.headers.items()}, await request.read()))
        except InvalidEventError as fault:
            return web.Response(status=400, text=str(fault))
        try:
            await self.publish(ingress.topic, event)
        except HeadraceError as fault:
            return web.Response(status=503, text=str(fault), headers={"Retry-After": "1"})
        return web.Response(status=202)

    async def publish(self, topic: str, event: CloudEvent) -> None:
        """Put the event into the topic.

        Raises:
            HeadraceError: Kafka did not take it.
        """
        # One at a time: the publisher is no thread's but who holds this.
        async with self._lock:
            await asyncio.get_running_loop().run_in_executor(None, self._publish, topic, event)

    def close(self) -> None:
        """Let go of Kafka."""
        if self._publisher is not None:
            self._publisher.__exit__(None, None, None)

    def _publish(self, topic: str, event: CloudEvent) -> None:
        if self._publisher is None:
            self._publisher = Publisher(self._kafka)
        self._publisher.publish(topic, [event])


def _read(message: HttpMessage) -> CloudEvent:
    mode = http.mode_of(message.headers)
    if mode is Mode.BINARY:
        return http.read_binary(message)
    if mode is Mode.STRUCTURED:
        return json_format.load_event(message.body)
    raise InvalidEventError("one CloudEvent a request, in binary or structured mode")


async def deliver(delivery: Delivery, kafka: KafkaSettings, ingresses: Ingresses, stop: asyncio.Event) -> None:
    """Deliver until ``stop``."""
    replies = (lambda event: ingresses.publish(delivery.replies, event)) if delivery.replies else None
    sink = KnativeSink(delivery, connections=UNORDERED, replies=replies)
    wanted = compile_filters(delivery.filters) if delivery.filters else None
    settings = DispatchSettings(
        identity=Responder(delivery.name.namespace, delivery.name.name, delivery.name.name, ""),
        dead_letters=delivery.dead_letters,
        ordering="partition" if delivery.ordered else "none",
        concurrency=UNORDERED,
        retry=KnativeRetry(delivery.attempts, delivery.backoff, delivery.delay),
        # What is no event on a broker's topic is passed over; a source wraps it.
        wanted=OnlyEvents(wanted) if delivery.kind == "trigger" else wanted,
    )
    member = KafkaMember(
        kafka, topic=delivery.topic, group=delivery.group, name=f"{delivery.name.namespace}.{delivery.name.name}"
    )
    try:
        await Dispatcher(member, sink, settings).run(stop)
    finally:
        await sink.close()


async def run(document: Mapping[str, Any], kafka: KafkaSettings) -> None:
    """Take and deliver events until SIGTERM; a delivery that fails ends all, and the twin starts it again."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    known = [EventIngress(**{**each, "name": Name(**each["name"])}) for each in document["ingresses"]]
    ingresses = Ingresses({each.path: each for each in known}, kafka)
    runner = web.ServerRunner(web.Server(ingresses.handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", document["port"]).start()
    sys.stdout.write(f"events are taken at http://127.0.0.1:{document['port']}\n")
    tasks = [asyncio.ensure_future(deliver(_delivery(each), kafka, ingresses, stop)) for each in document["deliveries"]]
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await runner.cleanup()
        ingresses.close()
    for result in results:
        if isinstance(result, BaseException):
            raise result


def _delivery(document: Mapping[str, Any]) -> Delivery:
    return Delivery(**{**document, "name": Name(**document["name"]), "filters": tuple(document["filters"])})


def main(file: str) -> int:
    """Run it; 1 where it fails, told in a line."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for client in ("kafka", "librdkafka"):
        logging.getLogger(client).setLevel(logging.ERROR)
    provider = tracing.configure(EVENTING, os.environ)
    try:
        asyncio.run(run(orjson.loads(Path(file).read_bytes()), kafka_settings()))
    except HeadraceError as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    finally:
        if provider:
            with contextlib.suppress(Exception):
                provider.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
