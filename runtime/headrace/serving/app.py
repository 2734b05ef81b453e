"""What stands behind the paths of a server whose models are loaded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson

from headrace.errors import InvalidInputError, UnavailableError
from headrace.eventing.codec import http
from headrace.models.kserve_api import ModelNotReady
from headrace.serving import bundle, faults, refusals, rest, routes
from headrace.serving.events import EventDoor
from headrace.serving.gathering import Gathered, added
from headrace.serving.messages import Response, json_response
from headrace.serving.metrics import CONTENT_TYPE, Metrics, page
from headrace.serving.rest import RestDoor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headrace.eventing.results import Responder
    from headrace.serving.gathering import Snapshot
    from headrace.serving.hosted import Hosted
    from headrace.serving.messages import Request
    from headrace.serving.repository import Repository
    from headrace.serving.routes import Found

_EVENTS = {"predict": "/v1/models/{model}:predict", "infer": "/v2/models/{model}/infer"}
"""The actions that take CloudEvents too, and their routes."""


class ModelApp:
    """Answers every request to the models of this process.

    Args:
        repository: The models; events on ``/`` go to the first.
        identity: Who answers events.
    """

    def __init__(self, repository: Repository, identity: Responder) -> None:
        self.repository = repository
        self.metrics = Metrics()
        self.others: Callable[[], Awaitable[Snapshot]] | None = None
        """What the other workers of the same server have counted."""
        self._unloaded = Gathered()
        self._first = repository.slots[0].name
        self._identity = identity
        self._actions: dict[str, Callable[[Request, Found], Awaitable[Response]]] = {
            "events": self._post_root,
            "models": self._models,
            "model_ready": self._model_ready,
            "predict": self._predict,
            "explain": self._explain,
            "server": self._server,
            "model_metadata": self._model_metadata,
            "infer": self._infer,
            "prediction": self._prediction,
            "ping": self._ping,
            "index": self._index,
            "load": self._load,
            "unload": self._unload,
        }
        self.metrics.watch(repository)
        repository.left = self._left

    @property
    def models(self) -> dict[str, Hosted]:
        """The loaded models by name, and ``name/version`` where there are versions."""
        return self.repository.loaded

    async def ready(self) -> bool:
        """Whether every loaded model is healthy."""
        return all(await asyncio.gather(*(hosted.ready() for hosted in self.models.values())))

    async def answer(self, request: Request) -> Response:
        """The response to a request that has been read to its end."""
        if request.path == "/metrics" and request.method == "GET":
            return await self._metrics()
        try:
            response = await self._routed(request)
        except Exception as fault:  # noqa: BLE001  # a model's metadata may raise anything; the client is answered still
            faults.log(fault, faults.problem(fault), self._first)
            response = faults.error_response(fault)
        self.metrics.request(request.method, response.status)
        return response

    async def numbers(self) -> Snapshot:
        """What this process and those of its models have counted."""
        hosted = await asyncio.gather(*(hosted.snapshot() for hosted in self.models.values()))
        return added((self.metrics.snapshot(), self._unloaded.total(), *hosted))

    async def _metrics(self) -> Response:
        try:
            beside = () if self.others is None else await self.others()
            return Response(200, {"content-type": CONTENT_TYPE}, page(added((await self.numbers(), beside))))
        except UnavailableError as fault:
            return faults.error_response(fault)

    async def _routed(self, request: Request) -> Response:
        found = routes.find(request.method, request.path)
        if isinstance(found, routes.Found):
            if found.version and not self.repository.has_versions(found.model):
                return _versionless(request)
            return await self._actions[found.route.action](request, found)
        if found.allowed:
            return json_response({"detail": "Method Not Allowed"}, 405, {"allow": found.allowed})
        if found.elsewhere:
            host = request.headers.get("host", "")
            return Response(307, {"location": f"http://{host}{found.elsewhere}"})
        return json_response({"detail": "Not Found"}, 404)

    async def _predict(self, request: Request, found: Found) -> Response:
        hosted = await self.repository.wake(found.model)
        if (mode := http.mode_of(request.headers)) is not None:
            return await self._event_door(hosted).answer(request, _EVENTS["predict"], mode)
        if bundle.is_bundle(request):
            return await bundle.answer(RestDoor(hosted), request, _EVENTS["predict"], "predict")
        return await RestDoor(hosted).predict(request, _EVENTS["predict"])

    async def _infer(self, request: Request, found: Found) -> Response:
        if found.model not in self.repository.names and (refusal := refusals.unreadable(request)) is not None:
            return refusal
        hosted = await self.repository.wake(found.model, found.version)
        if (mode := http.mode_of(request.headers)) is not None:
            return await self._event_door(hosted, found.version, tensors=True).answer(request, _EVENTS["infer"], mode)
        door = RestDoor(hosted, found.version)
        if bundle.is_bundle(request):
            return await bundle.answer(door, request, _EVENTS["infer"], "infer")
        return await door.infer(request, _EVENTS["infer"])

    async def _post_root(self, request: Request, _found: Found) -> Response:
        if (mode := http.mode_of(request.headers)) is None:
            return rest.reject_plain("/")
        return await self._event_door(await self.repository.wake(self._first)).answer(request, "/", mode)

    async def _prediction(self, request: Request, found: Found) -> Response:
        hosted = await self.repository.wake(found.model)
        return await RestDoor(hosted).prediction(request, "/predictions/{model}")

    async def _ping(self, _request: Request, _found: Found) -> Response:
        healthy = await self.ready()
        return json_response({"status": "Healthy" if healthy else "Unhealthy"}, 200 if healthy else 503)

    async def _explain(self, request: Request, found: Found) -> Response:
        hosted = await self.repository.wake(found.model)
        return await RestDoor(hosted).explain(request, "/v1/models/{model}:explain")

    async def _models(self, _request: Request, _found: Found) -> Response:
        return json_response({"models": self.repository.names})

    async def _model_ready(self, _request: Request, found: Found) -> Response:
        if not await self.repository.ready(found.model, found.version):
            raise ModelNotReady(found.model)
        return json_response({"name": found.model, "ready": True})

    async def _model_metadata(self, _request: Request, found: Found) -> Response:
        hosted = await self.repository.wake(found.model, found.version)
        return await RestDoor(hosted).metadata(self.repository.versions(found.model))

    async def _server(self, _request: Request, _found: Found) -> Response:
        return json_response(rest.server_metadata())

    async def _index(self, request: Request, _found: Found) -> Response:
        entries = await self.repository.index(ready=_only_ready(request.body))
        return json_response([entry.told() for entry in entries])

    async def _load(self, _request: Request, found: Found) -> Response:
        await self.repository.load(found.model)
        return json_response({"name": found.model, "load": True})

    async def _unload(self, _request: Request, found: Found) -> Response:
        await self.repository.unload(found.model)
        return json_response({"name": found.model, "unload": True})

    async def _left(self, key: str, hosted: Hosted) -> None:
        """What a model has counted stays when it goes."""
        self._unloaded.put(key, await hosted.snapshot())
        self._unloaded.gone(key)

    def _event_door(self, hosted: Hosted, version: str = "", *, tensors: bool = False) -> EventDoor:
        identity = self._identity
        if hosted.name != self._first or version:
            given = version or identity.model_version
            identity = type(identity)(identity.namespace, identity.app, hosted.name, given)
        return EventDoor(hosted, identity, self.metrics, tensors=tensors)


def _versionless(request: Request) -> Response:
    """What KServe answers wherever a version is asked for."""
    if request.method == "POST" and (refusal := refusals.unreadable(request)) is not None:
        return refusal
    raise NotImplementedError("Model versioning not supported yet.")


def _only_ready(body: bytes | bytearray) -> bool:
    """What the body of an index request asks for: ``{"ready": true}``, or nothing.

    Raises:
        InvalidInputError: it is something else.
    """
    try:
        wanted = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as fault:
        raise InvalidInputError(f"The request is not JSON: {fault}") from fault
    if not isinstance(wanted, dict) or not isinstance(wanted.get("ready", False), bool):
        raise InvalidInputError("The request must be an object whose member 'ready' is true or false")
    return bool(wanted.get("ready", False))
