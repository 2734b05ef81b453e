"""Several models under a memory budget, and versions of one beside each other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from headrace.errors import ModelLoadError
from headrace.models import rpc_tensors, tensors
from headrace.models.kserve_api import InferRequest, Model, messages, services
from headrace.serving import repository as repository_module
from headrace.serving.app import ModelApp
from headrace.serving.hosting import HostedModel
from headrace.serving.repository import EVICTED, Repository, Slot
from headrace.serving.rpc import RpcServer
from headrace.serving.settings import BatchLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BUDGET = 100
INFER = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [1]}]}


class Sized(Model):
    """Says which version it is, and takes 40 bytes."""

    memory_bytes = 40

    def __init__(self, name: str, number: int = 0) -> None:
        super().__init__(name)
        self.number = number
        self.ready = True
        self.open = asyncio.Event()
        self.open.set()
        self.stopped = False

    async def predict(self, payload: Any, headers: Any = None) -> Any:
        """The number, when it is let."""
        await self.open.wait()
        assert not self.stopped, "taken away from under a request"
        if isinstance(payload, InferRequest):
            return tensors.new_response(self.name, {"y": payload.inputs[0].as_numpy() * self.number})
        return {"predictions": [self.number]}

    def stop(self) -> None:
        """It is gone."""
        self.stopped = True


class Remembering(Sized):
    """Has state between requests."""

    state_key = "subject"
    state_limit = 1

    def predict_keyed(self, payload: Any, headers: Any, states: Any) -> Any:
        """Never called here."""
        raise AssertionError


class Shelf:
    """Models by name, how often each was loaded, and a server of them."""

    def __init__(self, server: Any, names: str = "abc", kind: type[Sized] = Sized, size: int = 40) -> None:
        self.loads: dict[str, int] = {}
        self.models: dict[str, Sized] = {}
        self.server = server
        self.fault: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.size = size
        self.repository = Repository(budget=BUDGET)
        for name in names:
            self.repository.add(Slot(name, loader=self.loader(name, kind), size=size, evicted=True))
        server.front.application = ModelApp(self.repository, server.front.application._identity)

    def loader(self, name: str, kind: type[Sized]) -> Callable[[], Awaitable[HostedModel]]:
        """How it is loaded."""

        async def load() -> HostedModel:
            await self.gate.wait()
            if self.fault is not None:
                raise self.fault
            self.loads[name] = self.loads.get(name, 0) + 1
            self.models[name] = kind(name, self.loads[name])
            return HostedModel(self.models[name], BatchLimits(), size=self.size)

        return load

    async def ask(self, name: str) -> Any:
        """One request."""
        return await self.server.post(f"/v1/models/{name}:predict", {})

    async def states(self) -> dict[str, tuple[str, str]]:
        """What the index says."""
        index = (await self.server.ask("POST", "/v2/repository/index")).json
        return {line["name"]: (line["state"], line["reason"]) for line in index}


async def until(condition: Callable[[], object]) -> None:
    """Wait for it; the test as a whole has a deadline."""
    while not condition():  # noqa: ASYNC110  # told by no event
        await asyncio.sleep(0.001)


def test_what_was_not_asked_for_longest_makes_room(serving: Callable[..., Any]) -> None:
    """Models come as they are asked, go when another needs the room, and come back; index and metrics tell."""

    async def use(server: Any) -> None:
        shelf = Shelf(server)
        assert [(await shelf.ask(name)).json for name in "aba"] == [{"predictions": [1]}] * 3
        assert (await shelf.ask("c")).status == 200
        assert await shelf.states() == {
            "a": ("READY", ""),
            "b": ("UNAVAILABLE", EVICTED),
            "c": ("READY", ""),
        }
        assert shelf.models["b"].stopped
        assert (await server.ask("GET", "/v1/models")).json == {"models": ["a", "b", "c"]}
        assert (await server.ask("GET", "/v2/models/b/ready")).status == 200
        assert (await shelf.ask("b")).json == {"predictions": [2]}
        assert shelf.models["a"].stopped
        page = (await server.ask("GET", "/metrics")).body.decode()
        assert 'headrace_model_memory_bytes{model="b"} 40.0' in page
        assert 'headrace_model_memory_bytes{model="a"}' not in page
        assert "headrace_model_memory_limit_bytes 100.0" in page
        assert "headrace_model_evictions_total 2.0" in page

    serving(Sized("m"), use)


def test_a_model_in_use_is_never_evicted(serving: Callable[..., Any]) -> None:
    """Where all are in use the new one waits outside: 503 with Retry-After; then it has its turn."""

    async def use(server: Any) -> None:
        shelf = Shelf(server)
        for name in "ab":
            await shelf.ask(name)
            shelf.models[name].open.clear()
        asked = [asyncio.ensure_future(shelf.ask(name)) for name in "ab"]
        await until(lambda: all(hosted.taken for hosted in shelf.repository.loaded.values()))
        refused = await shelf.ask("c")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert "every loaded model is in use" in refused.json["error"]
        assert "c" not in shelf.loads
        for name in "ab":
            shelf.models[name].open.set()
        assert [(await each).status for each in asked] == [200, 200]
        assert (await shelf.ask("c")).status == 200

    serving(Sized("m"), use)


def test_under_load_nothing_is_taken_away(serving: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Three models in the room of two, asked by many at once: every answer is right or says when to come back."""
    monkeypatch.setattr(repository_module, "give_back", lambda: None)  # a collection of the whole test run each time

    async def use(server: Any) -> None:
        shelf = Shelf(server)

        async def client(number: int) -> list[int]:
            return [(await shelf.ask("abc"[(number + turn) % 3])).status for turn in range(15)]

        statuses = [status for each in await asyncio.gather(*map(client, range(8))) for status in each]
        assert set(statuses) <= {200, 503}
        assert statuses.count(200) > 50
        assert sum(slot.size for slot in shelf.repository.slots if slot.hosted) <= BUDGET

    serving(Sized("m"), use)


def test_it_is_loaded_once_for_all_who_ask(serving: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests wait for a model that comes back, one load for all; beyond their patience they are sent away."""

    async def use(server: Any) -> None:
        shelf = Shelf(server)
        shelf.gate.clear()
        asked = [asyncio.ensure_future(shelf.ask("a")) for _ in range(5)]
        await until(lambda: shelf.repository.slots[0].loading)
        assert (await shelf.states())["a"] == ("LOADING", "")
        monkeypatch.setattr(repository_module, "PATIENCE", 0.01)
        late = await shelf.ask("a")
        assert (late.status, late.headers["retry-after"]) == (503, "1")
        assert "is being loaded" in late.json["error"]
        shelf.gate.set()
        assert {(await each).status for each in asked} == {200}
        assert shelf.loads == {"a": 1}

    serving(Sized("m"), use)


def test_one_that_was_unloaded_stays_away(serving: Callable[..., Any]) -> None:
    """Somebody said so: it is not found until it is loaded by name."""

    async def use(server: Any) -> None:
        shelf = Shelf(server)
        for loaded in (False, True):
            if loaded:
                assert (await server.ask("POST", "/v2/repository/models/a/load")).status == 200
            assert (await server.ask("POST", "/v2/repository/models/a/unload")).status == 200
            assert (await shelf.ask("a")).status == 404
            assert (await server.ask("GET", "/v2/models/a/ready")).status == 404
            assert (await shelf.states())["a"] == ("UNAVAILABLE", "unloaded")

    serving(Sized("m"), use)


def test_one_that_remembers_is_never_evicted(serving: Callable[..., Any]) -> None:
    """What it knows of its keys would be lost."""

    async def use(server: Any) -> None:
        shelf = Shelf(server)
        for name in "ab":
            slot = shelf.repository.slots["ab".index(name)]
            hosted = HostedModel(Sized(name), BatchLimits())
            hosted.model = Remembering(name)
            slot.hosted, slot.size, slot.evicted = hosted, 40, False
        assert (await shelf.ask("c")).status == 503
        assert len(shelf.repository.loaded) == 2

    serving(Sized("m"), use)


def test_one_that_fits_nowhere_or_does_not_load(serving: Callable[..., Any]) -> None:
    """503 says why, and so does the index; the others stay, and it is tried again when it is asked again."""

    async def use(server: Any) -> None:
        shelf = Shelf(server)
        await shelf.ask("b")
        shelf.size = 101
        refused = await shelf.ask("a")
        assert refused.status == 503
        assert "does not fit" in refused.json["error"]
        assert shelf.models["a"].stopped
        assert "budget" in (await shelf.states())["a"][1]
        shelf.fault = ModelLoadError("no weights")
        assert "no weights" in (await shelf.ask("c")).json["error"]
        shelf.fault, shelf.size = None, 40
        assert (await shelf.ask("c")).status == 200
        assert "b" in shelf.repository.loaded

    serving(Sized("m"), use)


def versioned(server: Any) -> Repository:
    """Versions 1 and 2 of a model, the first of which is meant where none is named."""
    repository = Repository()
    for number in (1, 2):
        repository.add(Slot("v", str(number), hosted=HostedModel(Sized("v", number), BatchLimits())))
    server.front.application = ModelApp(repository, server.front.application._identity)
    return repository


def test_versions_side_by_side(serving: Callable[..., Any]) -> None:
    """Each has its paths and names itself in its answers; without a version the first answers; no other is there."""

    async def use(server: Any) -> None:
        versioned(server)
        assert (await server.post("/v1/models/v:predict", {})).json == {"predictions": [1]}
        for path, factor in (("v", 1), ("v/versions/1", 1), ("v/versions/2", 2)):
            answer = (await server.post(f"/v2/models/{path}/infer", INFER)).json
            assert answer["outputs"][0]["data"] == [factor]
            assert answer["model_version"] == (path[-1] if "/" in path else None)
            assert (await server.ask("GET", f"/v2/models/{path}/ready")).json == {"name": "v", "ready": True}
            assert (await server.ask("GET", f"/v2/models/{path}")).json["versions"] == ["1", "2"]
        assert (await server.post("/v2/models/v/versions/3/infer", INFER)).status == 404
        assert (await server.ask("GET", "/v2/models/v/versions/3/ready")).status == 404
        index = (await server.ask("POST", "/v2/repository/index")).json
        assert [(line["name"], line["version"], line["state"]) for line in index] == [
            ("v", "1", "READY"),
            ("v", "2", "READY"),
        ]
        assert 'headrace_model_requests{model="v/2"} 0.0' in (await server.ask("GET", "/metrics")).body.decode()

    serving(Sized("m"), use)


def test_an_event_to_a_version(serving: Callable[..., Any]) -> None:
    """Its result says which version answered."""

    async def use(server: Any) -> None:
        versioned(server)
        event = {"ce_specversion": "1.0", "ce_id": "1", "ce_source": "/s", "ce_type": "t"}
        sent = [await server.post(f"/v2/models/v{path}/infer", INFER, **event) for path in ("/versions/2", "")]
        assert [answer.status for answer in sent] == [200, 200]
        assert sent[0].headers["ce-id"] != sent[1].headers["ce-id"]

    serving(Sized("m"), use)


def test_versions_and_the_repository_over_grpc(serving: Callable[..., Any]) -> None:
    """``model_version`` chooses; metadata names them; loading and unloading mean every version."""

    async def use(server: Any) -> None:
        repository = versioned(server)
        rpc = RpcServer(server.front, 1 << 20)
        await rpc.open("127.0.0.1", 0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{rpc.port}") as channel:
            stub = services.GRPCInferenceServiceStub(channel)
            asked = tensors.load_request(_json(INFER), "v", None)
            for version, factor in (("", 1), ("2", 2)):
                message = rpc_tensors.dump_request(asked)
                message.model_version = version
                answer = rpc_tensors.load_response(await stub.ModelInfer(message))
                assert answer.outputs[0].as_numpy().tolist() == [factor]
            message.model_version = "3"
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.ModelInfer(message)
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
            metadata = await stub.ModelMetadata(messages.ModelMetadataRequest(name="v"))
            assert list(metadata.versions) == ["1", "2"]
            assert (await stub.ModelReady(messages.ModelReadyRequest(name="v", version="2"))).ready
            await stub.RepositoryModelUnload(messages.RepositoryModelUnloadRequest(model_name="v"))
            assert not repository.loaded
        await rpc.close(0)

    serving(Sized("m"), use)


def _json(value: Any) -> bytes:
    import orjson  # noqa: PLC0415

    return orjson.dumps(value)
