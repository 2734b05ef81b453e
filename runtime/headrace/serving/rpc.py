"""The Open Inference Protocol over gRPC: ``inference.GRPCInferenceService`` on a port of its own."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import orjson
from grpc import StatusCode

from headrace.errors import HeadraceError, InvalidInputError, UnavailableError
from headrace.models import rpc_tensors, tensors
from headrace.models.kserve_api import InferenceError, InferRequest, InferResponse, messages, services
from headrace.serving import faults, ports, spans
from headrace.serving.rest import server_metadata

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headrace.eventing.results import Problem
    from headrace.serving.app import ModelApp
    from headrace.serving.front import Front

_LOG = logging.getLogger("headrace.serving")
_STATUS: dict[int, StatusCode] = {
    HTTPStatus.BAD_REQUEST: StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: StatusCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: StatusCode.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: StatusCode.NOT_FOUND,
    HTTPStatus.CONFLICT: StatusCode.ABORTED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNPROCESSABLE_ENTITY: StatusCode.INVALID_ARGUMENT,
    HTTPStatus.TOO_MANY_REQUESTS: StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.NOT_IMPLEMENTED: StatusCode.UNIMPLEMENTED,
    HTTPStatus.BAD_GATEWAY: StatusCode.UNAVAILABLE,
    HTTPStatus.SERVICE_UNAVAILABLE: StatusCode.UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT: StatusCode.DEADLINE_EXCEEDED,
}
"""HTTP statuses of problems in gRPC's words (gRPC, status codes and their use)."""
_ANY_ERROR = "Internal server error"
"""All that a caller learns of an exception that nobody expected, as KServe tells it; the log has the rest."""
PUSHBACK = "grpc-retry-pushback-ms"
"""Trailer with the milliseconds after which a retry makes sense (gRFC A6)."""


class RpcDoor(services.GRPCInferenceServiceServicer):
    """Where gRPC calls come in.

    Args:
        front: Knows the application, and counts the calls in flight with the HTTP requests.
    """

    def __init__(self, front: Front) -> None:
        self._front = front
        self.called = 0.0
        """When the last call came, in seconds that never go back."""

    async def ServerLive(self, _request: Any, _context: Any) -> Any:  # noqa: N802  # the service's name
        """The process is alive."""
        return messages.ServerLiveResponse(live=True)

    async def ServerReady(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Whether requests are to be sent here."""
        return messages.ServerReadyResponse(ready=await self._front.ready())

    async def ServerMetadata(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """What this server is."""
        return messages.ServerMetadataResponse(**server_metadata())

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Whether one model is healthy."""

        async def answer(application: ModelApp) -> Any:
            return messages.ModelReadyResponse(ready=await application.repository.ready(request.name, request.version))

        return await self._answered("ModelReady", context, request.name, answer)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The inputs and outputs of one model."""

        async def answer(application: ModelApp) -> Any:
            repository = application.repository
            hosted = await repository.wake(request.name, request.version)
            inputs, outputs = await hosted.types()
            versions = repository.versions(request.name)
            return messages.ModelMetadataResponse(
                name=request.name, versions=versions, platform="", inputs=inputs, outputs=outputs
            )

        return await self._answered("ModelMetadata", context, request.name, answer)

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Load a model that was unloaded."""

        async def answer(application: ModelApp) -> Any:
            await application.repository.load(request.model_name)
            return messages.RepositoryModelLoadResponse(model_name=request.model_name, isLoaded=True)

        return await self._answered("RepositoryModelLoad", context, request.model_name, answer)

    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Unload a model once its last request is answered."""

        async def answer(application: ModelApp) -> Any:
            await application.repository.unload(request.model_name)
            return messages.RepositoryModelUnloadResponse(model_name=request.model_name, isUnloaded=True)

        return await self._answered("RepositoryModelUnload", context, request.model_name, answer)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        """One inference."""

        async def answer(application: ModelApp) -> Any:
            return await _infer(application, request, headers)

        headers = {item.key: item.value for item in context.invocation_metadata() or ()}
        with spans.serving_rpc("ModelInfer", headers) as span:
            return await self._answered("ModelInfer", context, request.model_name, answer, span)

    async def _answered(
        self,
        method: str,
        context: Any,
        model: str,
        answer: Callable[[ModelApp], Awaitable[Any]],
        span: Any = None,
    ) -> Any:
        self._front.enter()
        self.called = time.monotonic()
        code = StatusCode.OK
        try:
            given = await answer(self._application())
        except asyncio.CancelledError:
            code = StatusCode.CANCELLED
            raise
        except Exception as fault:  # noqa: BLE001  # whatever a model raises becomes a status
            found = faults.problem(fault)
            faults.log(fault, found, model)
            code, told = _status(fault, found)
            spans.rpc_ended(span, code.name, fault)
            await _abort(context, code, told, found)
        else:
            spans.rpc_ended(span, code.name)
            return given
        finally:
            self._front.leave()
            if self._front.application is not None:
                self._front.application.metrics.call(method, code.name)

    def _application(self) -> ModelApp:
        application = self._front.application
        if application is None:
            raise UnavailableError("The model is not loaded yet")
        if self._front.draining:
            raise UnavailableError("The server is stopping")
        return application  # type: ignore[return-value]  # the front knows it by what HTTP needs of it


async def _infer(application: ModelApp, message: Any, headers: dict[str, str]) -> Any:
    hosted = await application.repository.wake(message.model_name, message.model_version)
    request = rpc_tensors.load_request(message)
    given, _ = await hosted.infer(request, headers)
    if isinstance(given, messages.ModelInferResponse):
        return given
    if isinstance(given, InferResponse):
        if message.model_version and application.repository.has_versions(message.model_name):
            given.model_version = message.model_version
        return rpc_tensors.dump_response(given, request)
    return _of_dict(given, request)


def _of_dict(given: Any, request: InferRequest) -> Any:
    """A model may answer a dict in the form of v2, as KServe lets it."""
    try:
        response = tensors.load_response(orjson.dumps(given, option=orjson.OPT_SERIALIZE_NUMPY), None)
    except (InvalidInputError, TypeError) as fault:
        raise HeadraceError(f"Model '{request.model_name}' answered no v2 response: {fault}") from fault
    return rpc_tensors.dump_response(response, request)


def _status(fault: Exception, found: Problem) -> tuple[StatusCode, str]:
    if isinstance(fault, InferenceError):
        return StatusCode.INVALID_ARGUMENT, str(fault.reason)
    status = _STATUS.get(found.status)
    if status is None:
        return StatusCode.INTERNAL, found.detail if isinstance(fault, HeadraceError) else _ANY_ERROR
    return status, found.detail


async def _abort(context: Any, status: StatusCode, told: str, found: Problem) -> NoReturn:
    wait = faults.retry_seconds(found)
    trailers = ((PUSHBACK, str(math.ceil(wait * 1000))),) if wait is not None else ()
    await context.abort(status, told, trailers)
    raise AssertionError("abort raises")


LINGER = 2.0
"""Seconds for which calls are told that the server is stopping, at most."""
QUIET = 0.2
"""Seconds without a call after which none is on its way."""


class RpcServer:
    """The gRPC port.

    Args:
        front: What the calls are answered by.
        max_request_bytes: Largest message that is read.
        shared: Whether other workers of the same server take calls at this port too.
    """

    def __init__(self, front: Front, max_request_bytes: int, *, shared: bool = False) -> None:
        self.port = 0
        self._server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", max_request_bytes),
                ("grpc.max_send_message_length", -1),
                # Two servers on one port would each get a part of the calls; workers of one server are to.
                ("grpc.so_reuseport", int(shared)),
            )
        )
        self._door = RpcDoor(front)
        services.add_GRPCInferenceServiceServicer_to_server(self._door, self._server)

    async def open(self, host: str, port: int) -> None:
        """Begin to take calls; the port taken is ``port``.

        Raises:
            ConfigurationError: the port cannot be opened.
        """
        try:
            self.port = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as fault:
            raise ports.refused(host, port, fault, "--grpc-port") from fault
        await self._server.start()

    async def close(self, grace: float) -> None:
        """Take no new call, and end when those in flight are answered, after ``grace`` seconds at the latest.

        gRPC cancels a call that reaches it at the moment of its stop, before any of our code sees it. So for a moment
        new calls are told that the server is stopping, until none comes any more.
        """
        began = time.monotonic()
        while (now := time.monotonic()) < began + min(grace, LINGER) and now - self._door.called < QUIET:  # noqa: ASYNC110  # silence has no event
            await asyncio.sleep(QUIET / 2)
        await self._server.stop(max(0.0, began + grace - now))
