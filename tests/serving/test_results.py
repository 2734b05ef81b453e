"""Result and error events as values (event contract, section 3)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import orjson
import pytest

from headrace.errors import (
    DeadlineExceededError,
    HeadraceError,
    InvalidEventError,
    InvalidInputError,
    OverloadedError,
    PermanentError,
    TemporaryError,
    UnavailableError,
)
from headrace.eventing.event import CloudEvent, new_event
from headrace.eventing.results import (
    ERROR_TYPE,
    RESULT_TYPE,
    Problem,
    Responder,
    dump_problem,
    error_event,
    is_error,
    problem_of,
    read_problem,
    result_event,
    result_id,
)

IDENTITY = Responder("vision", "labels", "m", "7")
NOW = datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=timezone(timedelta(hours=1)))
TRACE = {"traceparent": "00-1-2-01", "tracestate": "", "baggage": "secret=1"}


def request(**attributes: str) -> CloudEvent:
    return new_event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", **attributes})


def result(event: CloudEvent, identity: Responder = IDENTITY) -> CloudEvent:
    return result_event(event, data=b"{}", content_type="application/json", identity=identity, trace=TRACE, now=NOW)


def test_a_result_says_who_answered_what() -> None:
    """Every attribute of the contract, the time in UTC, no baggage, and nothing else of the request's."""
    given = result(request(subject="s", partitionkey="k", dataschema="http://x", traceparent="00-9-9-01"))
    assert dict(given.attributes) == {
        "specversion": "1.0",
        "type": RESULT_TYPE,
        "source": "/headrace/vision/labels",
        "id": result_id(request(), IDENTITY),
        "time": "2026-01-02T02:04:05.006000Z",
        "modelname": "m",
        "modelversion": "7",
        "subject": "s",
        "partitionkey": "k",
        "correlationid": "1",
        "causationid": "1",
        "traceparent": "00-1-2-01",
        "datacontenttype": "application/json",
    }


def test_a_correlation_goes_on() -> None:
    """The request's ``correlationid`` is kept; the cause is the request itself."""
    given = result(request(correlationid="c"))
    assert (given.get("correlationid"), given.get("causationid")) == ("c", "1")


def test_ids_tell_answers_apart() -> None:
    """Another source, id, app, version or kind is another id; the same of all is the same."""
    others = [
        result_id(request(id="2"), IDENTITY),
        result_id(request(source="/s1"), IDENTITY),
        result_id(request(id="11", source="/"), IDENTITY),
        result_id(request(), Responder("vision", "labels", "m", "8")),
        result_id(request(), Responder("vision", "other", "m", "7")),
        result_id(request(), IDENTITY, kind=ERROR_TYPE),
    ]
    same = result_id(request(subject="another"), IDENTITY)
    assert len({same, *others}) == 7
    assert same == result_id(request(), IDENTITY)


@pytest.mark.parametrize(
    ("fault", "status", "code", "retriable"),
    [
        (InvalidInputError("x"), 400, "invalid-input", False),
        (InvalidEventError("x"), 400, "invalid-event", False),
        (PermanentError("x"), 422, "permanent", False),
        (OverloadedError("x", retry_after=3), 429, "overloaded", True),
        (TemporaryError("x"), 503, "temporary", True),
        (UnavailableError("x"), 503, "unavailable", True),
        (DeadlineExceededError("x"), 504, "deadline-exceeded", True),
        (HeadraceError("x"), 500, "internal", False),
        (ValueError("x"), 500, "internal", True),
    ],
)
def test_an_error_event_holds_its_problem(fault: Exception, status: int, code: str, *, retriable: bool) -> None:
    """What is written is what is read: status, code, detail, whether and when to come back."""
    given = error_event(request(), fault, identity=IDENTITY, trace=TRACE, now=NOW)
    assert is_error(given)
    assert given.content_type == "application/problem+json"
    problem = read_problem(given)
    assert problem == problem_of(fault)
    assert (problem.status, problem.code, problem.retriable) == (status, code, retriable)
    assert problem.retry_after == getattr(fault, "retry_after", None)
    members = orjson.loads(given.data or b"")
    assert members["type"] == f"urn:headrace:error:{code}"
    assert members["title"]


def test_what_is_no_event_is_answered_without_lineage() -> None:
    """There is no id to refer to: the answer has one of its own, and no cause."""
    given = error_event(None, InvalidEventError("x"), identity=IDENTITY, trace={}, now=NOW, unidentified="5")
    assert given.id == "unidentified-5"
    assert not {"causationid", "correlationid", "traceparent"} & set(given.attributes)
    assert not is_error(result(request()))


@pytest.mark.parametrize("data", [b"[", b"[]", b'{"status": "x"}', b"3"])
def test_a_problem_that_is_none(data: bytes) -> None:
    """Another's error event may hold anything: it is refused, not believed."""
    with pytest.raises(InvalidEventError):
        read_problem(CloudEvent({"id": "1", "type": ERROR_TYPE}, data))


def test_missing_members_are_those_of_a_500() -> None:
    """An error that says nothing of itself is a failure that may be retried; an unknown status has a title too."""
    assert read_problem(CloudEvent({"id": "1"}, None)) == Problem(500, "internal", "", retriable=True)
    assert orjson.loads(dump_problem(Problem(599, "x", "", retriable=False)))["title"] == "Error"
