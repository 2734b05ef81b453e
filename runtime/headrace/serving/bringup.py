"""Models brought up: built, loaded and warmed up, at the start and whenever one comes back."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from headrace.errors import ModelLoadError
from headrace.models import storage
from headrace.models.fetching.process import size_of
from headrace.models.prefetch import Prefetch
from headrace.serving import workers
from headrace.serving.execution.worker import Worker
from headrace.serving.memory import give_back, model_bytes, resident_bytes
from headrace.serving.search_path import search_last
from headrace.serving.settings import PROCESS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.models.kserve_api import PredictorConfig
    from headrace.serving.hosted import Hosted
    from headrace.serving.hosting import HostedModel
    from headrace.serving.metering.meter import Meter
    from headrace.serving.repository import Loader
    from headrace.serving.settings import BatchLimits, ModelSource, Predictor, ServeSettings
    from headrace.serving.startup import Phases


class HowHosted(Protocol):
    """How models are hosted."""

    @property
    def batching(self) -> BatchLimits:
        """How their requests are merged."""

    @property
    def predictor(self) -> Predictor | None:
        """Where a transformer's predictor is."""


class Room:
    """What is left of a memory budget.

    Args:
        budget: Bytes that all models may take together; 0 sets no bound.
    """

    def __init__(self, budget: int = 0) -> None:
        self._budget = budget
        self._taken = 0

    def may_fit(self, source: ModelSource) -> bool:
        """Whether it is worth while to load the model, as far as its files tell; the first always is."""
        return not self._budget or not self._taken or self._taken + expected_bytes(source) <= self._budget

    def take(self, source: ModelSource, size: int) -> bool:
        """Count a model that is loaded; returns whether it may stay.

        Raises:
            ModelLoadError: it is the first, and larger than the budget.
        """
        if self._budget and self._taken + size > self._budget:
            if self._taken:
                return False
            told = f"Model {source.name!r} takes {size} bytes, and all models together may take {self._budget}"
            raise ModelLoadError(told, hint="raise --model-memory")
        self._taken += max(1, size)
        return True


def expected_bytes(source: ModelSource) -> int:
    """Bytes that a model will take, as far as its files tell; 0 where they are not here."""
    path = storage.local_path(source.model) if source.model else None
    return size_of(path) if path is not None else 0


def hosted(
    how: HowHosted,
    sources: Sequence[ModelSource],
    loop: asyncio.AbstractEventLoop,
    phases: Phases,
    meter: Meter | None,
    *,
    budget: int = 0,
) -> list[HostedModel | None]:
    """The models, ready to answer; None in the place of one that does not fit beside those before it. Blocks.

    Args:
        how: How they are hosted.
        sources: Which.
        loop: The loop that the models' coroutines belong to.
        phases: Begun when the process did.
        meter: Counts what they compute.
        budget: Bytes that all may take together; 0 sets no bound.

    Raises:
        ModelLoadError: in one line, the class and the cause.
    """
    search_last(Path.cwd())
    ahead = [Prefetch(source.model) for source in sources if source.model]
    from headrace.models.kserve_api import set_predictor_config  # noqa: PLC0415  # heavy: the files come meanwhile
    from headrace.serving import hosting, loading  # noqa: PLC0415

    config = _predictor_config(how.predictor)
    if config is not None:
        set_predictor_config(config)  # a constructor may read it
    classes = [loading.load_class(source.target) for source in sources]
    phases.end("import")
    room = Room(budget)
    found = [_in_room(room, *pair, loop) for pair in zip(classes, sources, strict=True)]
    phases.end("load")
    models = [(None, 0) if each is None else each for each in found]
    for model, _ in models:
        if model is not None:
            _warm_up(model, loop)
    phases.end("warm-up")
    phases.beside += [("fetch", *each.took) for each in ahead if each.took is not None]
    phases.record(sources[0].name)
    return [
        None if model is None else hosting.HostedModel(model, how.batching, config, meter=meter, size=size)
        for model, size in models
    ]


def hosted_apart(settings: ServeSettings, loop: asyncio.AbstractEventLoop) -> list[Hosted | None]:
    """As :func:`hosted`, every model in a process of its own; they load at the same time, unless there is a budget."""

    async def together() -> list[Hosted | None]:
        tasks = [asyncio.ensure_future(_apart(settings, source)) for source in settings.sources]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def one_by_one() -> list[Hosted | None]:
        room = Room(settings.model_memory)
        models: list[Hosted | None] = []
        for source in settings.sources:
            model = await _apart(settings, source) if room.may_fit(source) else None
            if model is not None and not room.take(source, model.size):
                await model.stop()
                model = None
            models.append(model)
        return models

    begun = asyncio.run_coroutine_threadsafe(one_by_one() if settings.model_memory else together(), loop)
    importlib.import_module("headrace.serving.app")  # while they start
    return begun.result()


def loader(settings: ServeSettings, source: ModelSource, meter: Meter | None) -> Loader:
    """How the repository loads this model again, without a word to the event loop while it does."""

    async def load() -> Hosted:
        if settings.execution == PROCESS:
            return await _apart(settings, source)
        from headrace.serving.hosting import HostedModel  # noqa: PLC0415  # heavy
        from headrace.serving.loading import load_class  # noqa: PLC0415

        loop = asyncio.get_running_loop()

        def blocking() -> tuple[Any, int]:
            model, size = _loaded(load_class(source.target), source, loop)
            _warm_up(model, loop)
            return model, size

        worker = Worker(f"load-{source.name}")
        try:
            model, size = await worker.submit(blocking)
        finally:
            worker.close()
        config = _predictor_config(settings.predictor)
        return HostedModel(model, settings.batching, config, meter=meter, size=size)

    return load


async def _apart(settings: ServeSettings, source: ModelSource) -> Hosted:
    from headrace.serving.execution.orders import Work  # noqa: PLC0415  # heavy
    from headrace.serving.execution.process_hosting import ProcessModel  # noqa: PLC0415

    weight = 1 / (workers.sharing(settings) * len(settings.sources))
    return await ProcessModel.start(Work(source, settings.batching, settings.predictor, settings.name, weight))


def _in_room(
    room: Room, found: type[Any], source: ModelSource, loop: asyncio.AbstractEventLoop
) -> tuple[Any, int] | None:
    if not room.may_fit(source):
        return None
    model, size = _loaded(found, source, loop)
    if room.take(source, size):
        return model, size
    model.stop()
    del model
    give_back()
    return None


def _loaded(found: type[Any], source: ModelSource, loop: asyncio.AbstractEventLoop) -> tuple[Any, int]:
    """The model, and the bytes that it takes."""
    from headrace.serving import hosting, loading  # noqa: PLC0415  # heavy

    before = resident_bytes()
    model = loading.build(found, source.name, source.model)
    _settle(loading.load(model), loop)
    hosting.check_ready(model)
    return model, model_bytes(model, resident_bytes() - before)


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
