"""From whatever a model raises to a problem with an HTTP status."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError
from headrace.eventing.results import Problem, problem_of
from headrace.models.kserve_api import InferenceError, InvalidInput, ModelNotFound, ModelNotReady
from headrace.serving.messages import Response, json_response
from headrace.telemetry.logs import of_event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.eventing.event import CloudEvent

_LOG = logging.getLogger("headrace.serving")
_BY_TYPE: tuple[tuple[type[BaseException], int, str, bool], ...] = (
    (InvalidInput, HTTPStatus.BAD_REQUEST, "invalid-input", False),
    (ModelNotFound, HTTPStatus.NOT_FOUND, "not-found", True),
    (ModelNotReady, HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", True),
    (NotImplementedError, HTTPStatus.NOT_IMPLEMENTED, "not-implemented", False),
)
_BY_NAME = {
    # httpx, of a user's transformer that leaves the call to kserve: known by name, to spare everybody the import.
    "TimeoutException": (HTTPStatus.GATEWAY_TIMEOUT, "deadline-exceeded"),
    "TransportError": (HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"),
}
_RETRY_AFTER = 1.0
"""Seconds that a caller is told to wait where the problem itself does not say."""
_WAITING = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_RETRIABLE = (HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS)


def problem(fault: BaseException) -> Problem:
    """The problem that an exception of a model's or of the server's is.

    kserve's exceptions have the statuses that KServe gives them, but for an error status of the predictor: KServe
    makes 500 of all of them, here it stays as the predictor answered it. A fault from the model's own process brings
    its problem with it: its class may not exist here.
    """
    brought = getattr(fault, "problem", None)
    if isinstance(brought, Problem):
        return brought
    if isinstance(fault, HeadraceError):
        return problem_of(fault)
    if (known := _of_kserve(fault) or _predictor_status(fault) or _of_httpx(fault)) is not None:
        return known
    if isinstance(fault, InferenceError):
        return Problem(int(HTTPStatus.INTERNAL_SERVER_ERROR), "internal", str(fault), retriable=True)
    return Problem(
        int(HTTPStatus.INTERNAL_SERVER_ERROR), "internal", f"{type(fault).__name__} : {fault}", retriable=True
    )


def error_response(fault: BaseException | Problem) -> Response:
    """The response to a plain request that failed, in KServe's form: ``{"error": "..."}``."""
    found = fault if isinstance(fault, Problem) else problem(fault)
    return json_response({"error": found.detail}, found.status, retry_headers(found))


def retry_headers(found: Problem) -> Mapping[str, str]:
    """``Retry-After``, where the caller ought to come back."""
    wait = retry_seconds(found)
    return {} if wait is None else {"retry-after": str(max(1, math.ceil(wait)))}


def retry_seconds(found: Problem) -> float | None:
    """After how many seconds the caller ought to come back; None where it ought not to."""
    return (found.retry_after or _RETRY_AFTER) if found.status in _WAITING else None


def log(fault: BaseException, found: Problem, model: str, event: CloudEvent | None = None) -> None:
    """One line for an error that is the server's or the model's; the traceback too where nobody expected it."""
    if found.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return
    expected = found.status != HTTPStatus.INTERNAL_SERVER_ERROR or isinstance(fault, HeadraceError)
    extra = of_event(event.attributes) if event is not None else None
    _LOG.error("model %s: %s", model, found.detail, exc_info=None if expected else fault, extra=extra)


def _of_kserve(fault: BaseException) -> Problem | None:
    for kind, status, code, retriable in _BY_TYPE:
        if isinstance(fault, kind):
            return Problem(int(status), code, str(fault), retriable)
    return None


def _of_httpx(fault: BaseException) -> Problem | None:
    for parent in type(fault).__mro__:
        if parent.__name__ in _BY_NAME and parent.__module__.startswith("httpx"):
            status, code = _BY_NAME[parent.__name__]
            return Problem(int(status), code, f"The predictor does not answer: {fault}", retriable=True)
    return None


def _predictor_status(fault: BaseException) -> Problem | None:
    # httpx.HTTPStatusError of kserve's client, and HTTPException of starlette.
    answer = getattr(fault, "response", fault)
    status = getattr(answer, "status_code", None)
    if not isinstance(status, int) or status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    wait = str((getattr(answer, "headers", None) or {}).get("retry-after", ""))
    retriable = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _RETRIABLE
    return Problem(status, "predictor", str(fault), retriable, float(wait) if wait.isdecimal() else None)
