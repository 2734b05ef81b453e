"""KServe's v1 protocol and the Open Inference Protocol (v2) over REST."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import orjson

from headrace.errors import InvalidInputError
from headrace.eventing.codec import json_format
from headrace.models import bundles, tensors
from headrace.models.kserve_api import InferRequest, InferResponse
from headrace.serving import faults, refusals, spans
from headrace.serving.events import decoded
from headrace.serving.messages import JSON, Response, json_response
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from headrace.serving.hosted import Hosted
    from headrace.serving.messages import Request

EXTENSIONS = ("binary_tensor_data", "model_repository_extension", bundles.EXTENSION)
"""Extensions of the Open Inference Protocol that are spoken, over REST and gRPC; the last one is our own, over REST."""
_NO_BODY = "Unrecognized request format: Input is a zero-length, empty document: line 1 column 1 (char 0)"
_DROPPED = ("content-length", "transfer-encoding", "connection")
"""Headers of a model's answer (or of a predictor's that it passes on) that describe another connection."""


@dataclass(frozen=True, slots=True)
class RestDoor:
    """Where plain requests come in for one model."""

    hosted: Hosted
    version: str = ""
    """The version that was asked for; it stands in the answer."""

    async def predict(self, request: Request, route: str) -> Response:
        """v1 ``:predict``."""

        async def answer() -> Response:
            payload = _v1_payload(request)
            return _v1_response(*await self.hosted.infer(payload, request.headers), payload)

        return await self._within_span("infer", request, route, answer)

    async def prediction(self, request: Request, route: str) -> Response:
        """As TorchServe's ``/predictions``: any body, JSON where it says that it is; answered with the bare answer."""

        async def answer() -> Response:
            payload = decoded(request.body, request.headers.get("content-type") or tensors.OCTETS)
            return _v1_response(*await self.hosted.infer(payload, request.headers), payload)

        return await self._within_span("infer", request, route, answer)

    async def explain(self, request: Request, route: str) -> Response:
        """v1 ``:explain``; the request's headers are not echoed, as KServe does."""

        async def answer() -> Response:
            if not self.hosted.explains:
                raise NotImplementedError(f"Model '{self.hosted.name}' has no explain")
            payload = _v1_payload(request)
            return _v1_response(*await self.hosted.explain(payload, request.headers), payload)

        return await self._within_span("explain", request, route, answer)

    async def infer(self, request: Request, route: str) -> Response:
        """v2 ``/infer``, JSON or with binary tensors."""

        async def answer() -> Response:
            wanted = _v2_request(request, self.hosted.name)
            if isinstance(wanted, Response):
                return wanted
            given, headers = await self.hosted.infer(wanted, request.headers)
            if self.version and isinstance(given, InferResponse):
                given.model_version = self.version
            return _v2_response(given, headers, wanted)

        return await self._within_span("infer", request, route, answer)

    async def answer_all(self, requests: Sequence[Request], action: str) -> list[Response]:
        """The response to each of many requests that nobody traces, ``predict`` or ``infer``, in few turns."""
        found = [self._read(each, action) for each in requests]
        calls = [(read, each.headers) for each, read in zip(requests, found, strict=True) if not _is_settled(read)]
        outcomes = iter(await self.hosted.infer_all(calls))
        responses = [read if _is_settled(read) else _written(next(outcomes), read, action) for read in found]
        return [self._refused(each) if isinstance(each, Exception) else each for each in responses]

    def _read(self, request: Request, action: str) -> Any:
        try:
            return _v1_payload(request) if action == "predict" else _v2_request(request, self.hosted.name)
        except Exception as fault:  # noqa: BLE001  # becomes the response
            return fault

    def _refused(self, fault: Exception) -> Response:
        found = faults.problem(fault)
        faults.log(fault, found, self.hosted.name)
        return faults.error_response(found)

    async def metadata(self, versions: Sequence[str] = ()) -> Response:
        """v2 model metadata."""
        inputs, outputs = await self.hosted.types()
        described = {
            "name": self.hosted.name,
            "versions": list(versions) or None,
            "platform": "",
            "inputs": inputs,
            "outputs": outputs,
        }
        return json_response(described)

    async def _within_span(
        self, name: str, request: Request, route: str, answer: Callable[[], Awaitable[Response]]
    ) -> Response:
        context = tracing.extract(request.headers)
        with spans.entered(spans.server_span(name, request, route, context), context) as span:
            try:
                response = await answer()
            except Exception as fault:  # noqa: BLE001  # whatever a model raises becomes a response
                response = self._refused(fault)
            spans.answered(span, response.status)
            return response


@lru_cache
def server_metadata() -> Mapping[str, Any]:
    """v2 server metadata."""
    return {"name": "headrace", "version": metadata.version("headrace"), "extensions": list(EXTENSIONS)}


def _v1_payload(request: Request) -> Any:
    content_type = request.headers.get("content-type", JSON)
    if content_type.partition(";")[0].strip().lower() == tensors.OCTETS:
        content_type = JSON  # KServe reads octets as JSON too
    if not request.body and json_format.is_json(content_type):
        raise InvalidInputError(_NO_BODY)
    return decoded(request.body, content_type)


def _v2_request(request: Request, model: str) -> InferRequest | Response:
    """The request; or KServe's refusal, where KServe does not hand it to the model either.

    Raises:
        InvalidInputError: the tensor and what is wrong with it, where KServe would let the model stumble over it.
    """
    length = request.headers.get(tensors.HEADER_LENGTH)
    readable = length is not None or refusals.is_json(request.headers.get("content-type", ""))
    fault: InvalidInputError | None = None
    if readable:
        try:
            return tensors.load_request(request.body, model, length)
        except InvalidInputError as found:
            fault = found
    refusal = refusals.of(request)
    if refusal is None:
        raise fault or InvalidInputError("The request is not JSON")
    return refusal


def _is_settled(read: Any) -> bool:
    """Whether reading a request has given its response, or the fault that it will be."""
    return isinstance(read, (Response, Exception))


def _written(outcome: Any, read: Any, action: str) -> Response | Exception:
    if isinstance(outcome, Exception):
        return outcome
    answer, headers = outcome
    try:
        write = _v1_response if action == "predict" else _v2_response
        return write(answer, headers, read)
    except Exception as fault:  # noqa: BLE001  # becomes the response
        return fault


def _v1_response(answer: Any, headers: Mapping[str, str], payload: Any) -> Response:
    kept = _passed_on(headers)
    if isinstance(answer, InferResponse):
        wanted = payload if isinstance(payload, InferRequest) else InferRequest(answer.model_name, [])
        return _v2_response(answer, headers, wanted)
    if isinstance(answer, (bytes, bytearray, str)):
        body = answer.encode() if isinstance(answer, str) else bytes(answer)
        return Response(200, {"content-type": JSON, **kept} if _is_json(body) else kept, body)
    if hasattr(answer, "__aiter__"):
        return Response(200, kept, stream=answer)
    return json_response(answer, headers={**kept, "content-type": JSON})


def _v2_response(answer: Any, headers: Mapping[str, str], wanted: InferRequest) -> Response:
    if not isinstance(answer, InferResponse):
        return json_response(answer, headers=_passed_on(headers))
    own, body = tensors.dump_response(answer, wanted)
    return Response(200, {**_passed_on(headers), **own}, body)


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    if not headers:
        return {}
    lower = {name.lower(): value for name, value in headers.items()}
    return {name: value for name, value in lower.items() if name not in _DROPPED}


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def reject_plain(route: str) -> Response:
    """The response to a request on an events-only path that holds no event."""
    return faults.error_response(
        InvalidInputError(
            f"POST {route} takes CloudEvents, and this request is none",
            hint="send ce-* headers, or application/cloudevents+json; plain requests go to /v1/models/NAME:predict",
        )
    )
