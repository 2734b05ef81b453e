"""What a predictor's refusal means to the transformer's own caller: the same status, the same advice to come back."""

from __future__ import annotations

from http import HTTPStatus

from headrace.errors import (
    DeadlineExceededError,
    HeadraceError,
    InvalidInputError,
    OverloadedError,
    PayloadTooLargeError,
    PermanentError,
    TemporaryError,
    UnavailableError,
)

_RETRIABLE = {HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT}
"""Client errors that a retry can mend (event contract, section 4)."""
_PLAIN: dict[int, type[InvalidInputError | PayloadTooLargeError | DeadlineExceededError]] = {
    HTTPStatus.BAD_REQUEST: InvalidInputError,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: PayloadTooLargeError,
    HTTPStatus.GATEWAY_TIMEOUT: DeadlineExceededError,
}


class PredictorUnavailableError(UnavailableError):
    """The predictor does not answer, or says that it cannot now.

    Args:
        message: Which predictor, and what it said.
        retry_after: Seconds after which a retry makes sense; None when the predictor did not say.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PredictorFailedError(TemporaryError):
    """The predictor failed; ``http_status`` is its own.

    Args:
        message: Which predictor, and what it said.
        http_status: The status it answered.
    """

    def __init__(self, message: str, *, http_status: int) -> None:
        super().__init__(message)
        self.http_status = http_status


class PredictorRefusedError(PermanentError):
    """The predictor will not answer this request; ``http_status`` is its own.

    Args:
        message: Which predictor, and what it said.
        http_status: The status it answered.
    """

    def __init__(self, message: str, *, http_status: int) -> None:
        super().__init__(message)
        self.http_status = http_status


def fault_of(status: int, message: str, retry_after: float | None = None) -> HeadraceError:
    """The error that keeps the meaning of a predictor's answer.

    Args:
        status: The HTTP status, 300 or above.
        message: What the predictor said, and which predictor.
        retry_after: Its ``Retry-After`` in seconds, where it sent one.
    """
    if status in _PLAIN:
        return _PLAIN[status](message)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return OverloadedError(message, retry_after=1.0 if retry_after is None else retry_after)
    if status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE):
        return PredictorUnavailableError(message, retry_after=retry_after)
    if status in _RETRIABLE or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return PredictorFailedError(message, http_status=status)
    return PredictorRefusedError(message, http_status=status)
