"""Runs of the model, in the model's own thread: of one request, or of several as one; and what follows a failed run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context

from headrace.errors import HeadraceError
from headrace.models.keyed_state import Keyed, StateStore
from headrace.models.kserve_api import ModelNotReady
from headrace.serving.batching import spans
from headrace.serving.execution.worker import exception_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from headrace.models.batching import Batchable
    from headrace.serving.batching.member import Call, Member
    from headrace.serving.execution.ahead import Prepared

_TOGETHER = 0.0005
"""Seconds of runs whose answers go to the loop together."""
RunTimes = tuple[float, float]
"""When the first run of a batch began and the last one ended, on the monotonic clock."""


class Runs:
    """Calls the model for members of the line, and writes each one's answer or fault into it.

    Nothing here is raised: a fault belongs to the members whose run it ended.

    Args:
        model: For its keyed state, where it has one.
        predict: The model's blocking ``predict``, given a call.
        hooks: Its batching hooks; None for a model that takes one request at a time.
    """

    def __init__(self, model: Any, predict: Callable[[Call], Any], hooks: Batchable | None) -> None:
        self._predict = predict
        self._hooks = hooks
        self._keyed = model if isinstance(model, Keyed) and model.state_key else None
        self._store = StateStore(self._keyed.state_limit) if self._keyed else None

    def collated(self, members: Sequence[Member]) -> Any:
        """The members' requests as one; may be called in another thread, while the model runs."""
        assert self._hooks is not None
        return self._hooks.collate([member.call[0] for member in members])

    def run(self, members: Sequence[Member], prepared: Prepared | None = None) -> RunTimes:
        """Answer every member that still waits.

        A run of several that fails is tried again as two halves, until the one to blame is alone with its fault: its
        neighbours are answered. A fault that is the model's and no request's (one that says it is retriable, and
        :class:`ModelNotReady`) goes to all at once instead.

        Args:
            members: Who goes together.
            prepared: Their requests as one, where that was begun before.
        """
        began = time.monotonic()
        present = [member for member in members if not member.left]
        if len(present) != len(members):
            prepared = None
        if present:
            self._attempt(present, prepared)
        return began, time.monotonic()

    def each(self, members: Sequence[Member]) -> Iterator[tuple[list[Member], RunTimes]]:
        """Answer every member that still waits by a run of its own; yields them as they are done.

        Where runs are short, several are yielded together: waking the loop costs more than such a run.
        """
        began = time.monotonic()
        done: list[Member] = []
        for member in members:
            member.waiting.end()
            if not member.left:
                self._attempt([member], None)
            done.append(member)
            now = time.monotonic()
            if now - began > _TOGETHER:
                yield done, (began, now)
                began, done = now, []
        if done:
            yield done, (began, time.monotonic())

    def _attempt(self, members: Sequence[Member], prepared: Prepared | None) -> None:
        started = spans.of_run(members)
        variables = members[0].variables
        if started:
            variables = variables.copy()
            variables.run(otel_context.attach, spans.within(started, members[0]))
        try:
            answers = variables.run(self._answers, members, prepared)
        except BaseException as raised:  # noqa: BLE001  # sys.exit() in a model is the fault of a request as well
            fault = exception_of(raised)
            spans.end(started, fault)
            self._failed(members, fault)
            return
        spans.end(started)
        for member, answer in zip(members, answers, strict=True):
            member.answer = answer

    def _failed(self, members: Sequence[Member], fault: Exception) -> None:
        if len(members) == 1 or _is_of_the_model(fault):
            for member in members:
                member.fault = fault
            return
        middle = len(members) // 2
        for half in (members[:middle], members[middle:]):
            present = [member for member in half if not member.left]
            if present:
                self._attempt(present, None)

    def _answers(self, members: Sequence[Member], prepared: Prepared | None) -> Sequence[Any]:
        if len(members) == 1:
            return [self._called(members[0].call, members)]
        assert self._hooks is not None
        merged = prepared.result() if prepared is not None else self.collated(members)
        answer = self._called((merged, {}, {}), members)
        answers = self._hooks.split(answer, [member.call[0] for member in members])
        if len(answers) != len(members):
            raise HeadraceError(f"split() returned {len(answers)} answers to {len(members)} requests")
        return answers

    def _called(self, call: Call, members: Sequence[Member]) -> Any:
        if self._keyed is None or self._store is None:
            return self._predict(call)
        keys = [member.state_key for member in members]
        answer, states = self._keyed.predict_keyed(call[0], call[1], self._store.of(keys))
        self._store.keep(keys, states)
        return answer


def _is_of_the_model(fault: Exception) -> bool:
    return isinstance(fault, ModelNotReady) or (isinstance(fault, HeadraceError) and fault.retriable)
