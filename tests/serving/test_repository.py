"""Models that come and go while the server runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from headrace.errors import ModelLoadError
from headrace.eventing.results import Responder
from headrace.models.kserve_api import Model
from headrace.serving.app import ModelApp
from headrace.serving.front import Front
from headrace.serving.hosting import HostedModel
from headrace.serving.repository import Repository
from headrace.serving.settings import BatchLimits

if TYPE_CHECKING:
    from collections.abc import Callable

INDEX, LOAD, UNLOAD = "/v2/repository/index", "/v2/repository/models/m/load", "/v2/repository/models/m/unload"


class Counted(Model):
    """Says how often a model of this class was made, and waits where it is told to."""

    made = 0

    def __init__(self, name: str) -> None:
        super().__init__(name)
        type(self).made += 1
        self.number = self.made
        self.ready = True
        self.open = asyncio.Event()
        self.open.set()
        self.stopped = False

    async def predict(self, payload: Any, headers: Any = None) -> Any:
        """The number."""
        await self.open.wait()
        assert not self.stopped
        return {"predictions": [self.number]}

    def stop(self) -> None:
        """Free what it holds."""
        self.stopped = True


def with_loader(server: Any, *, broken: bool = False) -> None:
    """Let the server load its model again, or fail to."""

    async def load() -> HostedModel:
        if broken:
            raise ModelLoadError("no weights")
        return HostedModel(Counted("m"), BatchLimits())

    identity = server.front.application._identity
    server.front.application = ModelApp(Repository([server.hosted], {"m": load}), identity)


def test_a_model_goes_and_comes_back(serving: Callable[..., Any]) -> None:
    """Unloaded it is unknown, loaded it is made anew; loading twice makes it once; the index tells each state."""

    async def use(server: Any) -> None:
        with_loader(server)
        first = (await server.post("/v1/models/m:predict", {})).json["predictions"][0]
        assert (await server.ask("POST", INDEX)).json == [{"name": "m", "state": "READY", "reason": ""}]
        unloaded = await server.ask("POST", UNLOAD)
        assert (unloaded.status, unloaded.json) == (200, {"name": "m", "unload": True})
        assert (await server.post("/v1/models/m:predict", {})).status == 404
        assert (await server.ask("POST", INDEX)).json[0]["state"] == "UNAVAILABLE"
        assert (await server.ask("POST", INDEX, b'{"ready": true}')).json == []
        assert (await server.ask("POST", UNLOAD)).status == 404
        answers = await asyncio.gather(server.ask("POST", LOAD), server.ask("POST", LOAD))
        assert [(answer.status, answer.json) for answer in answers] == [(200, {"name": "m", "load": True})] * 2
        assert (await server.post("/v1/models/m:predict", {})).json == {"predictions": [first + 1]}

    serving(Counted("m"), use)


def test_a_model_in_use_is_not_taken_away(serving: Callable[..., Any]) -> None:
    """Its last request is answered before it is stopped."""

    async def use(server: Any) -> None:
        model = server.hosted.model
        model.open.clear()
        asked = asyncio.ensure_future(server.post("/v1/models/m:predict", {}))
        while not server.hosted.taken:  # noqa: ASYNC110  # told by no event
            await asyncio.sleep(0.001)
        leaving = asyncio.ensure_future(server.ask("POST", UNLOAD))
        while "m" in server.front.application.models:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert not model.stopped
        model.open.set()
        assert (await asked).status == 200
        assert (await leaving).status == 200
        assert model.stopped

    serving(Counted("m"), use)


def test_a_model_that_does_not_load_says_why(serving: Callable[..., Any]) -> None:
    """503 with the reason, which the index keeps; one that nobody knows is 503 as under KServe."""

    async def use(server: Any) -> None:
        with_loader(server, broken=True)
        await server.ask("POST", UNLOAD)
        answer = await server.ask("POST", LOAD)
        assert (answer.status, answer.json["error"]) == (503, "Model with name m is not ready. no weights")
        assert (await server.ask("POST", INDEX)).json == [{"name": "m", "state": "UNAVAILABLE", "reason": "no weights"}]
        assert (await server.ask("POST", "/v2/repository/models/other/load")).status == 503

    serving(Counted("m"), use)


def test_an_index_request_that_is_none(serving: Callable[..., Any]) -> None:
    """What is no object with a truth value is refused."""

    async def use(server: Any) -> list[int]:
        bodies = (b"{", b"[]", b'{"ready": 1}')
        return [(await server.ask("POST", INDEX, body)).status for body in bodies]

    assert serving(Counted("m"), use) == [400, 400, 400]


def test_several_models_answer_for_themselves() -> None:
    """Each under its own name; the server is ready when all are."""

    async def within() -> None:

        models = [Counted("a"), Counted("b")]
        hosted = [HostedModel(model, BatchLimits()) for model in models]
        front = Front("a")
        front.application = ModelApp(Repository(hosted), Responder("n", "a", "a", "1"))
        numbers = [(await each.infer({}, {}))[0]["predictions"][0] for each in hosted]
        assert numbers == [model.number for model in models]
        assert await front.ready()
        models[1].ready = False
        assert not await front.ready()
        for each in hosted:
            await each.stop()

    asyncio.run(within())
