"""What answers an event: a result, or an error that says why there is none (event contract, section 3).

Pure functions: the caller brings the clock and the trace, so that the same request, answered twice, gives events
with the same ``id`` and a reader can drop the second.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timezone
from functools import lru_cache
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson

from headrace.errors import HeadraceError, InvalidEventError
from headrace.eventing.event import SPEC_VERSION, UNREAD, CloudEvent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

RESULT_TYPE = "dev.headrace.inference.result.v1"
ERROR_TYPE = "dev.headrace.inference.error.v1"
PROBLEM_JSON = "application/problem+json"
PROBLEM_PREFIX = "urn:headrace:error:"
"""Problem types are this and the error's ``code``: stable names, not addresses to visit (RFC 9457 section 3.1.1)."""

_TRACE = ("traceparent", "tracestate")
_KEPT = ("subject", "partitionkey", "hrreplay")
_STATUS = {
    "invalid-event": HTTPStatus.BAD_REQUEST,
    "invalid-input": HTTPStatus.BAD_REQUEST,
    "payload-too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "permanent": HTTPStatus.UNPROCESSABLE_ENTITY,
    "overloaded": HTTPStatus.TOO_MANY_REQUESTS,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "storage-full": HTTPStatus.SERVICE_UNAVAILABLE,
    "temporary": HTTPStatus.SERVICE_UNAVAILABLE,
    "deadline-exceeded": HTTPStatus.GATEWAY_TIMEOUT,
}


@dataclass(frozen=True, slots=True)
class Responder:
    """Who answers: it names the source and the version of every result."""

    namespace: str
    app: str
    model_name: str
    model_version: str

    @property
    def source(self) -> str:
        """The ``source`` of its results."""
        return f"/headrace/{self.namespace}/{self.app}"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an event has no result (RFC 9457, with three members of our own: code, retriable, retry_after)."""

    status: int
    """The HTTP status that a request with this one event gets."""
    code: str
    """The stable word of :class:`headrace.errors.HeadraceError`; ``internal`` for any other exception."""
    detail: str
    retriable: bool
    """Whether the same event can succeed later without a change."""
    retry_after: float | None = None
    """Seconds after which a retry makes sense; None when nobody said."""


def status_of(fault: BaseException) -> int:
    """The HTTP status of an error: the one it carries as ``http_status``, else its code's, else 500."""
    carried = getattr(fault, "http_status", None)
    if isinstance(carried, int):
        return carried
    return int(_STATUS.get(getattr(fault, "code", ""), HTTPStatus.INTERNAL_SERVER_ERROR))


def problem_of(fault: BaseException) -> Problem:
    """The problem that ``fault`` is.

    An exception that is none of Headrace's counts as retriable, as every 5xx does (event contract, section 4).
    """
    known = isinstance(fault, HeadraceError)
    return Problem(
        status=status_of(fault),
        code=fault.code if isinstance(fault, HeadraceError) else "internal",
        detail=str(fault) if known else f"{type(fault).__name__}: {fault}",
        retriable=fault.retriable if isinstance(fault, HeadraceError) else True,
        retry_after=getattr(fault, "retry_after", None),
    )


def dump_problem(problem: Problem) -> bytes:
    """The problem as an ``application/problem+json`` object."""
    members: dict[str, Any] = {
        "type": PROBLEM_PREFIX + problem.code,
        "title": _title(problem.status),
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "retriable": problem.retriable,
    }
    if problem.retry_after is not None:
        members["retry_after"] = problem.retry_after
    return orjson.dumps(members)


def is_error(event: CloudEvent) -> bool:
    """Whether this answer is an error event."""
    return event.type == ERROR_TYPE


def read_problem(event: CloudEvent) -> Problem:
    """The problem that an error event holds; members that are missing fall back to those of a 500.

    Raises:
        InvalidEventError: the data is no JSON object, or a member has the wrong type.
    """
    try:
        members = orjson.loads(event.data or b"{}")
        retry_after = members.get("retry_after")
        status = int(members.get("status", HTTPStatus.INTERNAL_SERVER_ERROR))
        return Problem(
            status=status,
            code=str(members.get("code", "internal")),
            detail=str(members.get("detail", "")),
            retriable=bool(members.get("retriable", status >= HTTPStatus.INTERNAL_SERVER_ERROR)),
            retry_after=None if retry_after is None else float(retry_after),
        )
    except (ValueError, TypeError, AttributeError) as fault:
        raise InvalidEventError(f"Error event {event.id!r} holds no problem object: {fault}") from fault


def result_id(request: CloudEvent, identity: Responder, *, kind: str = RESULT_TYPE) -> str:
    """The id of the answer of this ``kind`` to this request: the same whenever, wherever and however often it is made.

    Built of the request's source and id, the app, the model and its version, and the kind: an error and a later
    result are two events and have two ids.
    """
    source, own = request.attributes["source"], request.attributes["id"]
    # Each part with its length before it: ("ab", "c") and ("a", "bc") must differ.
    text = f"{len(source)}:{source}{len(own)}:{own}{_answerer(identity, kind)}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@lru_cache(maxsize=64)
def _answerer(identity: Responder, kind: str) -> str:
    """What the ids of all answers of one kind by one model have in common."""
    parts = (identity.source, identity.model_name, identity.model_version, kind)
    return "".join(f"{len(part)}:{part}" for part in parts)


def result_event(
    request: CloudEvent,
    *,
    data: bytes | None,
    content_type: str | None,
    identity: Responder,
    trace: Mapping[str, str],
    now: datetime,
    value: Any = UNREAD,
) -> CloudEvent:
    """The result of ``request``.

    Args:
        request: The event that was answered.
        data: What the model answered, in the form it has on the wire.
        content_type: Media type of ``data``; None for none.
        identity: Who answers.
        trace: ``traceparent`` and ``tracestate`` of the span that made the result; other names are left out.
        now: The time of the result, with its time zone.
        value: What was written as JSON into ``data``, where that was done here.
    """
    attributes = _answer_attributes(RESULT_TYPE, result_id(request, identity), identity, trace, now)
    attributes |= _lineage(request)
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    return CloudEvent(MappingProxyType(attributes), data, value)


def error_event(
    request: CloudEvent | None,
    fault: BaseException | Problem,
    *,
    identity: Responder,
    trace: Mapping[str, str],
    now: datetime,
    unidentified: str = "",
) -> CloudEvent:
    """The event that says why ``request`` has no result; its data is ``application/problem+json``.

    Args:
        request: The event that failed; None for something that is no CloudEvent and so has no source and id to
            refer to: the answer then has neither ``correlationid`` nor ``causationid``.
        fault: What went wrong.
        identity: Who answers.
        trace: ``traceparent`` and ``tracestate`` of the span that failed.
        now: The time of the failure, with its time zone.
        unidentified: The ``id`` of the answer where ``request`` is None; unique by the caller's care.
    """
    problem = fault if isinstance(fault, Problem) else problem_of(fault)
    identifier = result_id(request, identity, kind=ERROR_TYPE) if request else f"unidentified-{unidentified}"
    attributes = _answer_attributes(ERROR_TYPE, identifier, identity, trace, now)
    attributes |= _lineage(request) if request else {}
    attributes["datacontenttype"] = PROBLEM_JSON
    return CloudEvent(MappingProxyType(attributes), dump_problem(problem))


def _answer_attributes(
    kind: str, identifier: str, identity: Responder, trace: Mapping[str, str], now: datetime
) -> dict[str, str]:
    attributes = {**_constant(kind, identity), "id": identifier, "time": _rfc3339(now)}
    if trace:
        attributes |= {name: trace[name] for name in _TRACE if trace.get(name)}
    return attributes


@lru_cache(maxsize=64)
def _constant(kind: str, identity: Responder) -> Mapping[str, str]:
    """The attributes that all answers of one kind by one model have alike."""
    return {
        "specversion": SPEC_VERSION,
        "type": kind,
        "source": identity.source,
        "modelname": identity.model_name,
        "modelversion": identity.model_version,
    }


@lru_cache(maxsize=1)
def _rfc3339(now: datetime) -> str:
    """The moment in UTC; the answers of one batch have one."""
    return now.astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _lineage(request: CloudEvent) -> dict[str, str]:
    has = request.attributes
    given = {"correlationid": has.get("correlationid") or has["id"], "causationid": has["id"]}
    for name in _KEPT:
        if name in has:
            given[name] = has[name]
    return given


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
