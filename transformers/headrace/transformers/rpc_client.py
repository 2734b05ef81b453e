"""The way from a transformer to its predictor over gRPC."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import grpc
from grpc import StatusCode

from headrace.errors import DeadlineExceededError, InvalidInputError
from headrace.models import rpc_tensors
from headrace.models.kserve_api import services
from headrace.telemetry import tracing
from headrace.transformers import forwarding
from headrace.transformers.faults import PredictorFailedError, fault_of
from headrace.transformers.retries import Budget, NoAnswerError, Retries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span

    from headrace.errors import HeadraceError
    from headrace.models.kserve_api import InferRequest, InferResponse

_STATUS = {
    StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    StatusCode.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    StatusCode.ABORTED: HTTPStatus.CONFLICT,
    StatusCode.FAILED_PRECONDITION: HTTPStatus.UNPROCESSABLE_ENTITY,
    StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}
_PUSHBACK = "grpc-retry-pushback-ms"
"""The trailer in which a server says when a retry makes sense (gRFC A6)."""
_NOT_SENT = ("failed to connect", "connection refused", "connection reset", "socket closed", "name resolution")
"""What gRPC says when no server has answered; a server's own UNAVAILABLE has the server's words."""


class RpcPredictorClient:
    """Asks one model of one predictor over one HTTP/2 connection.

    Belongs to the event loop that it is first used on.

    Args:
        target: ``HOST:PORT``.
        timeout: Seconds for one request, retries included.
        retries: Tries beside the first of a request that got no answer.
        secure: Whether TLS is spoken, with the system's certificates.
    """

    def __init__(self, target: str, *, timeout: float, retries: int, secure: bool = False) -> None:
        self.target = target
        self.timeout = timeout
        self._secure = secure
        self._retries = Retries(retries, Budget())
        self._channel: Any = None
        self._stub: Any = None

    async def infer(self, request: InferRequest, headers: Mapping[str, str]) -> InferResponse:
        """The predictor's response.

        Args:
            request: What is asked; its ``model_name`` is the predictor's model.
            headers: The headers of the caller's request by lower-case name.

        Raises:
            HeadraceError: with the predictor's own status; unavailable where it does not answer, deadline exceeded
                where it does not in time.
        """
        context = forwarding.caller_context(headers)
        host, _, port = self.target.rpartition(":")
        attributes = {
            "rpc.system.name": "grpc",
            "rpc.method": "inference.GRPCInferenceService/ModelInfer",
            "server.address": host or self.target,
            **({"server.port": int(port)} if port.isdecimal() else {}),
        }
        span = forwarding.start_span(context, attributes)
        with tracing.recorded(span):
            message = rpc_tensors.dump_request(request)
            metadata = tuple(forwarding.outgoing(headers, span, context).items())
            answer = await self._retries.run(lambda: self._call(message, metadata, span))
            span.set_attribute("rpc.response.status_code", StatusCode.OK.name)
            try:
                return rpc_tensors.load_response(answer)
            except InvalidInputError as fault:
                raise PredictorFailedError(
                    f"Predictor {self.target} answered nonsense: {fault}", http_status=502
                ) from fault

    async def close(self) -> None:
        """Close the connection; a later request opens a new one."""
        channel, self._channel, self._stub = self._channel, None, None
        if channel is not None:
            await channel.close()

    async def _call(self, message: Any, metadata: tuple[tuple[str, str], ...], span: Span) -> Any:
        try:
            return await self._connected().ModelInfer(message, timeout=self.timeout, metadata=metadata)
        except grpc.aio.AioRpcError as fault:
            span.set_attribute("rpc.response.status_code", fault.code().name)
            raise self._fault(fault) from fault

    def _fault(self, fault: Any) -> HeadraceError:
        code, told = fault.code(), fault.details() or ""
        if code is StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceededError(f"Predictor {self.target} did not answer in {self.timeout:g} s")
        if code is StatusCode.UNAVAILABLE and any(words in told.lower() for words in _NOT_SENT):
            return NoAnswerError(f"Predictor {self.target} does not answer: {told}")
        wait = dict(fault.trailing_metadata() or ()).get(_PUSHBACK)
        seconds = int(wait) / 1000 if isinstance(wait, str) and wait.isdecimal() else None
        status = _STATUS.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)
        return fault_of(int(status), f"Predictor {self.target} answered {code.name}: {told}", seconds)

    def _connected(self) -> Any:
        if self._stub is None:
            options = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
            if self._secure:
                credentials = grpc.ssl_channel_credentials()
                self._channel = grpc.aio.secure_channel(self.target, credentials, options=options)
            else:
                self._channel = grpc.aio.insecure_channel(self.target, options=options)
            self._stub = services.GRPCInferenceServiceStub(self._channel)
        return self._stub
