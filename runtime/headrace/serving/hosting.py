"""A model in this process: its hooks, the thread that runs them, its way from loading to stopping."""

from __future__ import annotations

import asyncio
import inspect
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from headrace.errors import ModelLoadError, OverloadedError
from headrace.models.batching import Batchable
from headrace.models.hooks import at_once, waits
from headrace.models.keyed_state import Keyed
from headrace.models.kserve_api import InvalidInput, Model, ModelNotReady, set_predictor_config
from headrace.models.kserve_faults import StatusUnderKServe
from headrace.serving import faults, spans
from headrace.serving.batching.batcher import Batcher
from headrace.serving.batching.measures import RunMeasures
from headrace.serving.deadlines import deadline_of
from headrace.serving.execution.worker import Worker
from headrace.serving.hosted import is_at_hand
from headrace.serving.metrics import ModelTimes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.models.kserve_api import PredictorConfig
    from headrace.serving.batching.member import Call, Member
    from headrace.serving.batching.runs import RunTimes
    from headrace.serving.gathering import Snapshot
    from headrace.serving.hosted import Outcome
    from headrace.serving.metering.meter import Meter
    from headrace.serving.settings import BatchLimits
    from headrace.transformers.kserve_client import RestClient

RESULT = "result"
_WHOLE = (Model.__call__, StatusUnderKServe.__call__)
"""The ways to call a model as a whole that only call its hooks one after another."""


class HostedModel:
    """A model and how it is run. Which hooks there are and which of them block is found out once, here.

    Blocking hooks run in the model's own thread, never on the event loop; ``async`` hooks run on the loop.

    Args:
        model: The loaded model.
        limits: How requests are merged, and how many may wait.
        predictor: What kserve's own ``predict`` reads to find the predictor; None for a predictor.
        meter: Told of every request and run; None where nothing is metered.
        size: Bytes that the model takes; 0 where nobody has measured.
    """

    def __init__(
        self,
        model: Any,
        limits: BatchLimits,
        predictor: PredictorConfig | None = None,
        *,
        meter: Meter | None = None,
        size: int = 0,
    ) -> None:
        self.model = model
        self._meter = meter
        self.name: str = model.name
        self._limits = limits
        self._predictor = predictor
        self._client = None if predictor is None else _client(model, predictor)
        self._worker = Worker(f"model-{self.name}")
        self._pre = _overridden(model, "preprocess")
        self._post = _overridden(model, "postprocess")
        self._predict: Callable[..., Any] = model.predict
        self._with_headers = bool(getattr(model, "required_response_headers", False))
        self._whole = type(model).__call__ not in _WHOLE
        self._checks = _overridden(model, "validate") is not None
        hooks = model if isinstance(model, Batchable) else None
        blocking = not inspect.iscoroutinefunction(model.predict) and not self._whole
        check_keyed(model, blocking=blocking)
        self._measures = RunMeasures(self.name, merged=hooks is not None)
        self._batcher = (
            Batcher(model, self._call_predict, hooks, self._worker, limits, watcher=self._ran, counts=meter is not None)
            if blocking
            else None
        )
        own = [hook for hook in (self._pre, self._post) if hook is not None]
        self._together = self._batcher is not None and not any(map(waits, own)) and predictor is None
        self._times = ModelTimes(self.name)
        self._taken = 0
        self._stopped = False
        self.size = size
        """Bytes that the model takes; 0 where nobody has measured."""

    @property
    def taken(self) -> int:
        """How many requests the model has taken on and not yet answered."""
        return self._taken

    @property
    def metered(self) -> bool:
        """Whether usage is told of."""
        return self._meter is not None

    @property
    def explains(self) -> bool:
        """Whether the model has an ``explain`` of its own."""
        return _overridden(self.model, "explain") is not None

    @property
    def remembers(self) -> bool:
        """Whether it has state of its own between requests."""
        return isinstance(self.model, Keyed) and bool(self.model.state_key)

    async def ready(self) -> bool:
        """Whether the model says that it is healthy; one that raises is not."""
        try:
            return bool(await self.model.healthy())
        except Exception:  # noqa: BLE001  # whatever a health check raises, the model is not healthy
            return False

    async def types(self) -> tuple[Any, Any]:
        """The model's inputs and outputs, as it describes them; KServe allows ``async`` methods here."""
        return await _settled(self.model.get_input_types()), await _settled(self.model.get_output_types())

    async def infer(self, payload: Any, headers: dict[str, str]) -> tuple[Any, dict[str, str]]:
        """The model's answer and the response headers it set.

        Raises:
            OverloadedError: the model has taken on as many requests as it may.
            Exception: whatever a hook raises.
        """
        return await self._counted(payload, headers, self._answer)

    async def infer_all(self, calls: Sequence[tuple[Any, dict[str, str]]]) -> list[Outcome]:
        """As :meth:`infer` for many requests of one caller, in order; each one's fault stands in its place."""
        if not self._together:
            return list(await asyncio.gather(*(self.infer(*call) for call in calls), return_exceptions=True))
        if not self.model.ready:
            return [ModelNotReady(self.name)] * len(calls)
        if self._meter is not None:
            calls = [(p, self._meter.enter(self.name, h, p, works=False)) for p, h in calls]
        outcomes = await self._admitted(calls)
        if self._meter is not None:
            for (_, headers), outcome in zip(calls, outcomes, strict=True):
                self._meter.leave(headers, _word(outcome))
        return outcomes

    async def _admitted(self, calls: Sequence[tuple[Any, dict[str, str]]]) -> list[Outcome]:
        """The outcomes of as many calls as the model may take on; the others are refused."""
        room = max(0, self._limits.max_queue - self._taken)
        taken = calls[:room]
        self._taken += len(taken)
        try:
            given = await self._answer_all(taken)
        finally:
            self._taken -= len(taken)
        return given if len(taken) == len(calls) else [*given, *[self._overloaded()] * (len(calls) - len(taken))]

    async def explain(self, payload: Any, headers: dict[str, str]) -> tuple[Any, dict[str, str]]:
        """As :meth:`infer`, with ``explain`` instead of ``predict``."""
        return await self._counted(payload, headers, self._explanation)

    async def snapshot(self) -> Snapshot:
        """Nothing: what is counted of it stands among the numbers of this process."""
        return ()

    async def stop(self, *, beside: bool = False) -> None:
        """Let the model free what it holds, once; what it raises is of no use to anybody any more.

        Args:
            beside: Whether a run of the model may never end: its hooks are called in another thread then, since what
                it holds outside of the process (a file, a process of its own) would outlive it.
        """
        if self._stopped:
            return
        self._stopped = True
        if beside:
            self._worker = Worker(f"stop-{self.name}")
        with suppress(Exception):
            if hasattr(self.model, "aclose"):
                await self.model.aclose()
            if self._client is not None:
                await self._client.close()
            await self._run(self.model.stop)
            if self.model.engine:
                await self._run(self.model.stop_engine)
        self._worker.close()
        if self._batcher is not None:
            self._batcher.close()

    def _ran(self, members: Sequence[Member], times: RunTimes) -> None:
        self._measures.ran(members, times)
        if self._meter is not None:
            self._meter.ran(members, times)

    async def _counted(
        self, payload: Any, headers: dict[str, str], answer: Callable[..., Any]
    ) -> tuple[Any, dict[str, str]]:
        """As :meth:`_taken_on`, and the meter is told."""
        if self._meter is None:
            return await self._taken_on(payload, headers, answer)
        works = self._batcher is None or answer != self._answer
        seen = self._meter.enter(self.name, headers, payload, works=works)
        outcome = "cancelled"
        try:
            given = await self._taken_on(payload, seen, answer)
            outcome = RESULT
        except Exception as fault:
            outcome = _word(fault)
            raise
        finally:
            self._meter.leave(seen, outcome)
        return given

    async def _taken_on(
        self, payload: Any, headers: dict[str, str], answer: Callable[..., Any]
    ) -> tuple[Any, dict[str, str]]:
        if not self.model.ready:
            raise ModelNotReady(self.name)
        if self._taken >= self._limits.max_queue:
            raise self._overloaded()
        self._taken += 1
        try:
            if self._predictor is not None:
                set_predictor_config(self._predictor)
            result: tuple[Any, dict[str, str]] = await answer(payload, headers)
            return result
        finally:
            self._taken -= 1

    async def _answer(self, payload: Any, headers: dict[str, str]) -> tuple[Any, dict[str, str]]:
        if self._whole:
            answer, given = await self.model(payload, headers=headers)
            return answer, dict(given or {})
        response_headers: dict[str, str] = {}
        prepared = await self._prepared(payload, headers)
        call = (prepared, headers, response_headers)
        began = time.perf_counter()
        try:
            if self._batcher is None:
                given = self._call_predict(call)
            else:
                given = await self._batcher.submit(call, deadline_of(headers))
            answer = await _settled(given)
        finally:
            self._times.predicted(time.perf_counter() - began)
        return await self._finished(answer, headers, response_headers), response_headers

    async def _answer_all(self, calls: Sequence[tuple[Any, dict[str, str]]]) -> list[Outcome]:
        """All the calls' hooks and runs in as few turns of the loop as one request takes."""
        assert self._batcher is not None
        outcomes: list[Any] = [self._prepared_now(*call) for call in calls]
        sent = [at for at, prepared in enumerate(outcomes) if not isinstance(prepared, Exception)]
        deadlines = [deadline_of(calls[at][1]) for at in sent]
        began = time.perf_counter()
        answers = await self._batcher.submit_all([outcomes[at] for at in sent], deadlines)
        took = time.perf_counter() - began
        self._times.predicted(took, len(sent))
        for at, answer in zip(sent, answers, strict=True):
            if self._post is None and is_at_hand(answer):
                outcomes[at] = answer, outcomes[at][2]
                continue
            _, headers, given = outcomes[at]
            outcomes[at] = await self._outcome(answer, headers, given)
        return outcomes

    def _prepared_now(self, payload: Any, headers: dict[str, str]) -> Call | Exception:
        try:
            if self._pre is not None:
                with spans.step("preprocess"), self._times.preprocess():
                    payload = at_once(self._pre(payload, headers))
            return self._checked(payload), headers, {}
        except Exception as fault:  # noqa: BLE001  # it stands in the place of the answer
            return fault

    async def _outcome(self, answer: Any, headers: dict[str, str], given: dict[str, str]) -> Outcome:
        if isinstance(answer, Exception):
            return answer
        try:
            return await self._finished(await _settled(answer), headers, given), given
        except Exception as fault:  # noqa: BLE001  # it stands in the place of the answer
            return fault

    async def _explanation(self, payload: Any, headers: dict[str, str]) -> tuple[Any, dict[str, str]]:
        response_headers: dict[str, str] = {}
        prepared = await self._prepared(payload, headers)
        answer = await self._run(self.model.explain, prepared, headers)
        return await self._finished(answer, headers, response_headers), response_headers

    async def _prepared(self, payload: Any, headers: dict[str, str]) -> Any:
        if self._pre is not None:
            with spans.step("preprocess"), self._times.preprocess():
                payload = await self._run(self._pre, payload, headers)
        return self._checked(payload)

    def _checked(self, payload: Any) -> Any:
        if self._checks:
            return self.model.validate(payload)
        if isinstance(payload, dict) and not isinstance(payload.get("instances", []), list):
            raise InvalidInput('Expected "instances" to be a list')
        return payload

    async def _finished(self, answer: Any, headers: dict[str, str], response_headers: dict[str, str]) -> Any:
        if self._post is None:
            return answer
        with spans.step("postprocess"), self._times.postprocess():
            more = (response_headers,) if self._with_headers else ()
            return await self._run(self._post, answer, headers, *more)

    def _overloaded(self) -> OverloadedError:
        return OverloadedError(
            f"Model '{self.name}' works on {self._taken} requests, and may on no more",
            retry_after=1.0 if self._batcher is None else self._batcher.retry_after,
        )

    def _call_predict(self, call: tuple[Any, dict[str, str], dict[str, str]]) -> Any:
        payload, headers, response_headers = call
        if self._with_headers:
            return self._predict(payload, headers, response_headers)
        return self._predict(payload, headers)

    async def _run(self, hook: Callable[..., Any], *arguments: Any) -> Any:
        if inspect.iscoroutinefunction(hook):
            return await hook(*arguments)
        return await _settled(await self._worker.submit(partial(hook, *arguments)))


def _client(model: Any, predictor: PredictorConfig) -> RestClient | None:
    """A client for a transformer that leaves the asking to KServe."""
    from headrace.transformers.kserve_client import give_client  # noqa: PLC0415  # predictors need no client

    return give_client(model, predictor)


def _word(outcome: Outcome | BaseException) -> str:
    """How the usage of a request names its end."""
    return faults.problem(outcome).code if isinstance(outcome, Exception) else RESULT


def check_ready(model: Any) -> None:
    """Refuse a model that loaded without getting ready.

    Raises:
        ModelLoadError: ``load`` returned, and ``ready`` is not set.
    """
    if not model.ready:
        raise ModelLoadError(
            f"{type(model).__name__}.load() of model '{model.name}' returned, and self.ready is not set",
            hint="set self.ready = True when the model can answer",
        )


def check_keyed(model: Any, *, blocking: bool) -> None:
    """Refuse a model with keyed state whose requests the server cannot hold apart.

    Raises:
        ModelLoadError: it answers on the event loop, where requests of one key would meet.
    """
    if not isinstance(model, Keyed) or not model.state_key:
        return
    if not blocking or inspect.iscoroutinefunction(model.predict_keyed):
        raise ModelLoadError(
            f"{type(model).__name__} keeps state by '{model.state_key}', and its predict is async or its own __call__",
            hint="leave predict and __call__ to KeyedModel, and write predict_keyed as a plain method",
        )


def _overridden(model: Any, hook: str) -> Callable[..., Any] | None:
    """The model's own hook; None where it is the one of ``kserve.Model``, which does nothing."""
    own = getattr(type(model), hook, None)
    found: Callable[..., Any] | None = getattr(model, hook, None)
    return None if own is getattr(Model, hook, None) and hook not in vars(model) else found


async def _settled(value: Any) -> Any:
    """A blocking hook may still hand back a coroutine (``functools.wraps`` around an ``async`` one)."""
    return await value if not is_at_hand(value) and inspect.isawaitable(value) else value
