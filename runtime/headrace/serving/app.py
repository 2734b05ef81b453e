"""The paths of a server whose models are loaded."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

from headrace.errors import InvalidEventError
from headrace.eventing.codec import http
from headrace.models.kserve_api import ModelNotFound, ModelNotReady
from headrace.serving import faults, rest
from headrace.serving.events import EventDoor
from headrace.serving.messages import Response, json_response
from headrace.serving.metrics import CONTENT_TYPE, Metrics
from headrace.serving.rest import RestDoor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.eventing.results import Responder
    from headrace.serving.hosting import HostedModel
    from headrace.serving.messages import Request

_MODEL_PATH = re.compile(r"/(?P<version>v[12])/models/(?P<model>[^/:]+)(?P<action>:predict|:explain|/infer|/ready|)\Z")
_POSTED = {("v1", ":predict"), ("v1", ":explain"), ("v2", "/infer")}
_ASKED = {("v1", ""), ("v2", ""), ("v2", "/ready")}


class ModelApp:
    """Answers every request to the models of this process.

    Args:
        models: The models; events on ``/`` go to the first.
        identity: Who answers events.
    """

    def __init__(self, models: Sequence[HostedModel], identity: Responder) -> None:
        self.models = {hosted.name: hosted for hosted in models}
        self._first = models[0]
        self._identity = identity
        self._metrics = Metrics()
        for hosted in models:
            self._metrics.watch(hosted.name, partial(getattr, hosted, "taken"))

    async def ready(self) -> bool:
        """Whether every model is healthy."""
        return all(await asyncio.gather(*(hosted.ready() for hosted in self.models.values())))

    async def answer(self, request: Request) -> Response:
        """The response to a request that has been read to its end."""
        if request.path == "/metrics" and request.method == "GET":
            return Response(200, {"content-type": CONTENT_TYPE}, self._metrics.page())
        try:
            response = await self._routed(request)
        except Exception as fault:  # noqa: BLE001  # a model's metadata may raise anything; the client is answered still
            faults.log(fault, faults.problem(fault), self._first.name)
            response = faults.error_response(fault)
        self._metrics.request(request.method, response.status)
        return response

    async def _routed(self, request: Request) -> Response:
        if request.path == "/" and request.method == "POST":
            return await self._post("/", "/", self._first, request)
        if (found := _MODEL_PATH.match(request.path)) is not None:
            return await self._model_path(found, request)
        return await self._server_path(request)

    async def _server_path(self, request: Request) -> Response:
        if request.path in ("/v1/models", "/v2/models"):
            response = json_response({"models": list(self.models)})
        elif request.path == "/v2":
            response = rest.server_metadata()
        else:
            return json_response({"error": f"There is nothing at {request.path}"}, 404)
        return response if request.method in ("GET", "HEAD") else _not_allowed("GET")

    async def _model_path(self, found: re.Match[str], request: Request) -> Response:
        shape = (found["version"], found["action"])
        allowed = "POST" if shape in _POSTED else "GET"
        if shape not in _POSTED | _ASKED:
            return json_response({"error": f"There is nothing at {request.path}"}, 404)
        if request.method != allowed:
            return _not_allowed(allowed)
        name = unquote(found["model"])
        hosted = self.models.get(name)
        if hosted is None:
            return faults.error_response(ModelNotFound(name))
        if allowed == "POST":
            route = f"/{found['version']}/models/{{model}}{found['action']}"
            return await self._post(route, found["action"], hosted, request)
        return await self._asked(shape, hosted)

    async def _asked(self, shape: tuple[str, str], hosted: HostedModel) -> Response:
        if shape == ("v2", ""):
            return await RestDoor(hosted).metadata()
        if not await hosted.ready():
            return faults.error_response(ModelNotReady(hosted.name))
        return json_response({"name": hosted.name, "ready": True})

    async def _post(self, route: str, action: str, hosted: HostedModel, request: Request) -> Response:
        try:
            mode = http.mode_of(request.headers)
        except InvalidEventError as fault:
            return faults.error_response(fault)
        if mode is not None and action != ":explain":
            door = EventDoor(hosted, self._identity_of(hosted), self._metrics, tensors=action == "/infer")
            return await door.answer(request, route, mode)
        if action == "/":
            return rest.reject_plain(route)
        door_of = {":predict": RestDoor.predict, ":explain": RestDoor.explain, "/infer": RestDoor.infer}
        return await door_of[action](RestDoor(hosted), request, route)

    def _identity_of(self, hosted: HostedModel) -> Responder:
        if hosted is self._first:
            return self._identity
        return type(self._identity)(
            self._identity.namespace, self._identity.app, hosted.name, self._identity.model_version
        )


def _not_allowed(method: str) -> Response:
    return json_response({"error": "Method Not Allowed"}, 405, {"allow": method})
