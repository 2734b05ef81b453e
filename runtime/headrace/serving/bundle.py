"""Many requests of one POST to one model, each answered as if it had come alone (``headrace.models.bundles``)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headrace.models import bundles
from headrace.serving.messages import Request, Response
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from headrace.serving.rest import RestDoor

_OF_THE_WHOLE = ("content-type", "content-length", "transfer-encoding", "traceparent", "tracestate")
"""Headers of the bundle that say nothing of its parts."""


def is_bundle(request: Request) -> bool:
    """Whether a request holds several."""
    return request.headers.get("content-type") == bundles.MEDIA_TYPE


async def answer(door: RestDoor, request: Request, route: str, action: str) -> Response:
    """The responses to a bundle's requests, in order, as a bundle.

    Args:
        door: Of the model.
        request: The bundle.
        route: The route of each.
        action: ``predict`` (v1) or ``infer`` (v2).

    Raises:
        InvalidInputError: it is no bundle.
    """
    around = {name: value for name, value in request.headers.items() if name not in _OF_THE_WHOLE}
    requests = [
        Request(request.method, request.path, {**around, **said["headers"], "content-length": str(len(body))}, body)
        for said, body in bundles.load(request.body)
    ]
    if not all(map(_is_untraced, requests)):
        alone = door.predict if action == "predict" else door.infer
        # Each in a task, and so in a context, of its own: in the trace of its caller.
        responses = list(await asyncio.gather(*(alone(each, route) for each in requests)))
    else:
        responses = await door.answer_all(requests, action)
    parts = [await _part(response) for response in responses]
    return Response(200, {"content-type": bundles.MEDIA_TYPE}, bundles.dump(parts))


def _is_untraced(request: Request) -> bool:
    """Whether nobody will see spans of this request, and it brings no context that the model's own calls would need."""
    if "baggage" in request.headers:
        return False
    context = tracing.extract(request.headers)
    return tracing.is_unsampled(context) if tracing.active() else not context


async def _part(response: Response) -> bundles.Part:
    body = response.body
    if response.stream is not None:
        chunks = [chunk async for chunk in response.stream]
        body = b"".join(chunk if isinstance(chunk, bytes) else str(chunk).encode() for chunk in chunks)
    return {"status": response.status, "headers": dict(response.headers)}, body
