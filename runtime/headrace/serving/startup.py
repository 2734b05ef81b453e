"""From settings to loaded models. Everything heavy is imported here, in a thread, while the port is open already."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry import trace

from headrace.serving import workers
from headrace.telemetry import tracing
from headrace.telemetry.metrics.otlp import send_metrics

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.sdk.trace import TracerProvider

    from headrace.serving.app import ModelApp
    from headrace.serving.execution.orders import Work
    from headrace.serving.hosted import Hosted
    from headrace.serving.hosting import HostedModel
    from headrace.serving.metering.meter import Meter
    from headrace.serving.repository import Repository
    from headrace.serving.settings import Predictor, ServeSettings


@dataclass(slots=True)
class Phases:
    """When each phase of the start ended, to be told as spans once there is a tracer."""

    began: int = field(default_factory=time.time_ns)
    """Nanoseconds since the epoch."""
    clock: float = field(default_factory=time.monotonic)
    """The same moment on the steady clock."""
    ended: list[tuple[str, int]] = field(default_factory=list)
    beside: list[tuple[str, int, int]] = field(default_factory=list)
    """What went on beside the phases, from when to when."""

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
        for name, began, ended in self.beside:
            tracer.start_span(name, within, start_time=began).end(ended)
        start.end(at)


@dataclass(frozen=True, slots=True)
class Started:
    """What a start has brought up."""

    application: ModelApp
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
    from headrace.serving import bringup  # noqa: PLC0415  # heavy: see the module's docstring
    from headrace.serving.settings import PROCESS, identity  # noqa: PLC0415

    provider = tracing.configure(settings.name)
    meter: Meter | None = None
    models: Sequence[Hosted | None]
    if settings.execution == PROCESS:
        models = bringup.hosted_apart(settings, loop)
    else:
        meter = _meter(settings.name, settings.predictor, 1 / workers.sharing(settings))
        models = bringup.hosted(settings, settings.sources, loop, phases, meter, budget=settings.model_memory)
    from headrace.serving.app import ModelApp  # noqa: PLC0415  # heavy

    application = ModelApp(_repository(settings, models, meter), identity(settings.name))
    application.metrics.started(phases.seconds)
    return Started(application, provider, meter, send_metrics(settings.name, application.metrics.all))


def _repository(settings: ServeSettings, models: Sequence[Hosted | None], meter: Meter | None) -> Repository:
    from headrace.serving import bringup  # noqa: PLC0415  # heavy
    from headrace.serving.repository import Repository, Slot  # noqa: PLC0415

    repository = Repository(budget=settings.model_memory)
    for source, hosted in zip(settings.sources, models, strict=True):
        loader = bringup.loader(settings, source, meter)
        size = bringup.expected_bytes(source) if hosted is None else hosted.size
        evicted = hosted is None
        repository.add(Slot(source.name, source.version, loader=loader, hosted=hosted, size=size, evicted=evicted))
    return repository


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
    from headrace.serving import bringup  # noqa: PLC0415  # heavy

    provider = tracing.configure(work.service)
    meter = _meter(work.service, work.predictor, work.weight)
    (hosted,) = bringup.hosted(work, (work.source,), loop, Phases(), meter)
    assert hosted is not None, "without a budget every model fits"
    return StartedAlone(hosted, provider, meter)


def _meter(name: str, predictor: Predictor | None, weight: float) -> Meter | None:
    from headrace.serving.metering.setup import meter_of  # noqa: PLC0415  # heavy
    from headrace.serving.settings import identity  # noqa: PLC0415

    return meter_of(identity(name), "transformer" if predictor else "predictor", weight=weight)
