"""Requests that are made in the same turn of the event loop travel in one POST, to a predictor that reads bundles.

A batch of events becomes as many requests to the predictor in few turns. Each of them has its own answer; who asks
cannot tell whether it travelled alone. Nothing waits for company: what is asked in a turn goes at its end.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson

from headrace.errors import HeadraceError, InvalidInputError
from headrace.models import bundles
from headrace.transformers.faults import PredictorFailedError
from headrace.transformers.posting import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.transformers.posting import Poster

MOST_BYTES = 512 * 1024
"""Of the bodies in one bundle."""
ALONE = 64 * 1024
"""Bytes of a body that goes alone: the saving is a request's cost, and that body's own is more."""
ASK_AGAIN = 60.0
"""Seconds after which a predictor that does not read bundles is asked again: another may stand there by then."""
ASK_TIMEOUT = 5.0
_PASSING = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Statuses of a proxy, or of a server as a whole, that each request would have got."""


@dataclass(frozen=True, slots=True)
class _Asked:
    body: bytes
    headers: Mapping[str, str]
    ends: float
    answer: asyncio.Future[Answer]


class Bundler:
    """Posts to one predictor, together where that is possible. Belongs to one event loop.

    Args:
        poster: Connections to it.
    """

    def __init__(self, poster: Poster) -> None:
        self._poster = poster
        self._waiting: defaultdict[str, list[_Asked]] = defaultdict(list)
        self._tasks: set[asyncio.Task[None]] = set()
        self._reads: bool | None = None
        """Whether the predictor reads bundles; None while nobody has asked."""
        self._asked_at = 0.0

    async def post(self, path: str, body: bytes, headers: Mapping[str, str], ends: float) -> Answer:
        """As :meth:`headrace.transformers.posting.Poster.post`."""
        if len(body) > ALONE:
            return await self._poster.post(path, body, headers, ends)
        loop = asyncio.get_running_loop()
        asked = _Asked(body, headers, ends, loop.create_future())
        if not self._waiting:
            loop.call_soon(self._send)
        self._waiting[path].append(asked)
        return await asked.answer

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, defaultdict(list)
        for path, requests in waiting.items():
            for together in _portions(requests) if len(requests) > 1 and self._together() else [[r] for r in requests]:
                self._start(path, together)

    def _start(self, path: str, together: list[_Asked]) -> None:
        task = asyncio.ensure_future(self._post(path, together))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def gone(_: object) -> None:
            # Whoever asked has gone, all of them: the predictor need not go on either.
            if all(one.answer.cancelled() for one in together):
                task.cancel()

        for one in together:
            one.answer.add_done_callback(gone)

    def _together(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._reads is None or (not self._reads and now - self._asked_at > ASK_AGAIN):
            self._reads, self._asked_at = False, now
            task = asyncio.ensure_future(self._learn(now))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return self._reads

    async def _learn(self, now: float) -> None:
        """Ask the predictor for its extensions; one that does not tell them now is asked another time."""
        try:
            answer = await self._poster.get("/v2", now + ASK_TIMEOUT)
            known = orjson.loads(answer.content).get("extensions", ())
            self._reads = answer.status == HTTPStatus.OK and bundles.EXTENSION in known
        except (HeadraceError, orjson.JSONDecodeError, AttributeError, TypeError):
            self._reads = False

    async def _post(self, path: str, together: list[_Asked]) -> None:
        waiting = [one for one in together if not one.answer.done()]
        try:
            answers = await self._answers(path, waiting)
        except Exception as fault:  # noqa: BLE001  # it is that of each who asked
            for one in waiting:
                if not one.answer.done():
                    one.answer.set_exception(fault)
            return
        for one, answer in zip(waiting, answers, strict=False):
            if not one.answer.done():
                one.answer.set_result(answer)

    async def _answers(self, path: str, asked: Sequence[_Asked]) -> list[Answer]:
        if len(asked) <= 1:
            return [await self._poster.post(path, one.body, one.headers, one.ends) for one in asked]
        body = bundles.dump([({"headers": dict(one.headers)}, one.body) for one in asked])
        ends = min(one.ends for one in asked)
        answer = await self._poster.post(path, body, {"content-type": bundles.MEDIA_TYPE}, ends)
        if answer.headers.get("content-type") == bundles.MEDIA_TYPE:
            return _read(answer, len(asked), self._poster.base_url)
        if answer.status in _PASSING:
            return [answer] * len(asked)
        # Whoever stands there now reads no bundles, and has done nothing: each goes alone.
        self._reads = None
        for one in asked:
            self._start(path, [one])
        return []


def _portions(requests: Sequence[_Asked]) -> list[list[_Asked]]:
    """The requests in groups that one bundle holds."""
    portions: list[list[_Asked]] = []
    size = 0
    for one in requests:
        if not portions or len(portions[-1]) >= bundles.MOST or size + len(one.body) > MOST_BYTES:
            portions.append([])
            size = 0
        portions[-1].append(one)
        size += len(one.body)
    return portions


def _read(answer: Answer, count: int, base_url: str) -> list[Answer]:
    try:
        parts = bundles.load(answer.content)
        answers = [Answer(int(said["status"]), said["headers"], body) for said, body in parts]
    except (InvalidInputError, KeyError, ValueError) as fault:
        raise PredictorFailedError(
            f"Predictor {base_url} answered a broken bundle: {fault}", http_status=502
        ) from fault
    if len(answers) != count:
        message = f"Predictor {base_url} answered {count} requests with {len(answers)} responses"
        raise PredictorFailedError(message, http_status=502)
    return answers
