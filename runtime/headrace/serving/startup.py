"""From settings to loaded models. Everything heavy is imported here, in a thread, while the port is open already."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry import trace

from headrace.serving import workers
from headrace.serving.execution.worker import Worker
from headrace.serving.search_path import search_last
from headrace.telemetry import tracing
from headrace.telemetry.metrics.otlp import send_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.sdk.trace import TracerProvider

    from headrace.models.kserve_api import PredictorConfig
    from headrace.serving.app import ModelApp
    from headrace.serving.execution.orders import Work
    from headrace.serving.hosted import Hosted
    from headrace.serving.hosting import HostedModel
    from headrace.serving.metering.meter import Meter
    from headrace.serving.repository import Loader
    from headrace.serving.settings import BatchLimits, ModelSource, Predictor, ServeSettings


@dataclass(slots=True)
class Phases:
    """When each phase of the start ended, to be told as spans once there is a tracer."""

    began: int = field(default_factory=time.time_ns)
    """Nanoseconds since the epoch."""
    clock: float = field(default_factory=time.monotonic)
    """The same moment on the steady clock."""
    ended: list[tuple[str, int]] = field(default_factory=list)

    def end(self, name: str) -> None:
        """The phase ``name`` ends now, and the next begins."""
        self.ended.append((name, time.time_ns()))

    @property
    def seconds(self) -> dict[str, float]:
        """By phase, what it took."""
        begins = [self.began, *(ended for _, ended in self.ended)]
        return {name: (ended - begin) / 1e9 for (name, ended), begin in zip(self.ended, begins, strict=False)}

    def record(self, model: str, environment: Mapping[str, str] = os.environ) -> None:
        """Write ``start`` and its phases as spans, below the ``TRACEPARENT`` of the environment where it has one."""
        carrier = {
            name: environment[name.upper()] for name in ("traceparent", "tracestate") if name.upper() in environment
        }
        tracer = tracing.tracer(__name__)
        context = tracing.extract(carrier)
        start = tracer.start_span("start", context, start_time=self.began, attributes={"headrace.model": model})
        within = trace.set_span_in_context(start, context)
        at = self.began
        for name, ended in self.ended:
            tracer.start_span(name, within, start_time=at).end(ended)
            at = ended
        start.end(at)


@dataclass(frozen=True, slots=True)
class Started:
    """What a start has brought up."""

    application: ModelApp
    models: tuple[Hosted, ...]
    provider: TracerProvider | None
    meter: Meter | None
    end_metrics: Callable[[], None]
    """Sends the last metrics to a collector, where there is one."""


def start(settings: ServeSettings, loop: asyncio.AbstractEventLoop, phases: Phases) -> Started:
    """Import, build, load and warm up the models; blocks, so call it in a thread.

    Args:
        settings: What is served.
        loop: The loop that the models' coroutines belong to.
        phases: Begun when the process did.

    Raises:
        ModelLoadError: in one line, the class and the cause.
    """
    from headrace.serving.settings import PROCESS, identity  # noqa: PLC0415  # heavy: see the module's docstring

    provider = tracing.configure(settings.name)
    hosted: tuple[Hosted, ...]
    meter: Meter | None = None
    if settings.execution == PROCESS:
        hosted = _started_apart(settings, loop)
    else:
        meter = _meter(settings.name, settings.predictor, 1 / workers.sharing(settings))
        hosted = _hosted(settings, settings.sources, loop, phases, meter)
    from headrace.serving.app import ModelApp  # noqa: PLC0415  # heavy

    loaders = {source.name: _loader(settings, source, meter) for source in settings.sources}
    application = ModelApp(hosted, identity(settings.name), loaders)
    application.metrics.started(phases.seconds)
    return Started(application, hosted, provider, meter, send_metrics(settings.name, application.metrics.all))


@dataclass(frozen=True, slots=True)
class StartedAlone:
    """What the start of a model's own process has brought up."""

    hosted: HostedModel
    provider: TracerProvider | None
    meter: Meter | None


def start_alone(work: Work, loop: asyncio.AbstractEventLoop) -> StartedAlone:
    """The one model of this process, ready to answer; blocks, so call it in a thread.

    Raises:
        ModelLoadError: in one line, the class and the cause.
    """
    provider = tracing.configure(work.service)
    meter = _meter(work.service, work.predictor, work.weight)
    (hosted,) = _hosted(work, (work.source,), loop, Phases(), meter)
    return StartedAlone(hosted, provider, meter)


def _meter(name: str, predictor: Predictor | None, weight: float) -> Meter | None:
    from headrace.serving.metering.setup import meter_of  # noqa: PLC0415  # heavy
    from headrace.serving.settings import identity  # noqa: PLC0415

    return meter_of(identity(name), "transformer" if predictor else "predictor", weight=weight)


class _Hosting(Protocol):
    """How models are hosted."""

    @property
    def batching(self) -> BatchLimits:
        """How their requests are merged."""

    @property
    def predictor(self) -> Predictor | None:
        """Where a transformer's predictor is."""


def _hosted(
    how: _Hosting,
    sources: Sequence[ModelSource],
    loop: asyncio.AbstractEventLoop,
    phases: Phases,
    meter: Meter | None,
) -> tuple[HostedModel, ...]:
    search_last(Path.cwd())
    from headrace.models.kserve_api import set_predictor_config  # noqa: PLC0415  # heavy: see the module's docstring
    from headrace.serving import hosting, loading  # noqa: PLC0415

    config = _predictor_config(how.predictor)
    if config is not None:
        set_predictor_config(config)  # a constructor may read it
    classes = [loading.load_class(source.target) for source in sources]
    phases.end("import")
    models = [_loaded(found, source, loop) for found, source in zip(classes, sources, strict=True)]
    phases.end("load")
    for model in models:
        _warm_up(model, loop)
    phases.end("warm-up")
    phases.record(sources[0].name)
    return tuple(hosting.HostedModel(model, how.batching, config, meter=meter) for model in models)


def _started_apart(settings: ServeSettings, loop: asyncio.AbstractEventLoop) -> tuple[Hosted, ...]:
    """Every model in a process of its own; they load at the same time."""

    async def starting() -> tuple[Hosted, ...]:
        tasks = [asyncio.ensure_future(_apart(settings, source)) for source in settings.sources]
        try:
            return tuple(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    begun = asyncio.run_coroutine_threadsafe(starting(), loop)
    importlib.import_module("headrace.serving.app")  # while they start
    return begun.result()


async def _apart(settings: ServeSettings, source: ModelSource) -> Hosted:
    from headrace.serving.execution.orders import Work  # noqa: PLC0415  # heavy
    from headrace.serving.execution.process_hosting import ProcessModel  # noqa: PLC0415

    weight = 1 / (workers.sharing(settings) * len(settings.sources))
    return await ProcessModel.start(Work(source, settings.batching, settings.predictor, settings.name, weight))


def _loaded(found: type[Any], source: ModelSource, loop: asyncio.AbstractEventLoop) -> Any:
    from headrace.serving import hosting, loading  # noqa: PLC0415  # heavy: see the module's docstring

    model = loading.build(found, source.name, source.model)
    _settle(loading.load(model), loop)
    hosting.check_ready(model)
    return model


def _loader(settings: ServeSettings, source: ModelSource, meter: Meter | None) -> Loader:
    """How the repository loads this model again, without a word to the event loop while it does."""
    from headrace.serving.settings import PROCESS  # noqa: PLC0415

    async def load() -> Hosted:
        if settings.execution == PROCESS:
            return await _apart(settings, source)
        from headrace.serving.hosting import HostedModel  # noqa: PLC0415  # heavy
        from headrace.serving.loading import load_class  # noqa: PLC0415

        loop = asyncio.get_running_loop()

        def blocking() -> Any:
            model = _loaded(load_class(source.target), source, loop)
            _warm_up(model, loop)
            return model

        worker = Worker(f"load-{source.name}")
        try:
            config = _predictor_config(settings.predictor)
            return HostedModel(await worker.submit(blocking), settings.batching, config, meter=meter)
        finally:
            worker.close()

    return load


def _warm_up(model: Any, loop: asyncio.AbstractEventLoop) -> None:
    model.start()
    if model.engine:
        _settle(model.start_engine(), loop)
    if hasattr(model, "warm_up"):
        _settle(model.warm_up(), loop)


def _settle(value: Any, loop: asyncio.AbstractEventLoop) -> None:
    if inspect.isawaitable(value):
        asyncio.run_coroutine_threadsafe(_awaited(value), loop).result()


async def _awaited(value: Any) -> Any:
    return await value


def _predictor_config(predictor: Predictor | None) -> PredictorConfig | None:
    if predictor is None:
        return None
    from headrace.models.kserve_api import PredictorConfig as Config  # noqa: PLC0415  # heavy

    return Config(
        predictor_host=predictor.host,
        predictor_protocol=predictor.protocol,
        predictor_use_ssl=predictor.use_ssl,
        predictor_request_timeout_seconds=predictor.timeout,
        predictor_request_retries=predictor.retries,
    )
