"""Every error that Headrace raises on purpose, in one family.

    HeadraceError
    ├── ConfigurationError      a flag, a file or the app spec is wrong; lists every mistake found
    ├── ModelLoadError          a model class or its weights cannot be loaded
    ├── UnavailableError        a broker, a sink or a store does not answer (retriable)
    ├── StorageFullError        the disk under the log or the store is full (retriable)
    ├── TakenOverError          another process has this one's name and work
    ├── OverloadedError         a bounded queue is full (retriable, says when to come back)
    ├── DeadlineExceededError   the answer did not come in time (retriable)
    ├── InvalidEventError       claims to be a CloudEvent and is not
    ├── InvalidInputError       a CloudEvent or request whose data the model cannot read
    ├── PayloadTooLargeError    data over the stated limit
    ├── TemporaryError          user code: failed now, may work later (retriable)
    └── PermanentError          user code: will never work for this event

What belongs here: the classes, their stable ``code`` and whether a retry can help. What does not: HTTP statuses and
Kafka error numbers; each transport maps ``code`` to its own.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ConfigurationError",
    "DeadlineExceededError",
    "HeadraceError",
    "InvalidEventError",
    "InvalidInputError",
    "ModelLoadError",
    "OverloadedError",
    "PayloadTooLargeError",
    "PermanentError",
    "StorageFullError",
    "TakenOverError",
    "TemporaryError",
    "UnavailableError",
]


class HeadraceError(Exception):
    """Something that Headrace can name.

    Args:
        message: What is wrong, where, in one sentence.
        hint: What to do about it; empty when there is nothing to do.
    """

    code: ClassVar[str] = "internal"
    """Stable, lower-case word for programs: it never changes between releases."""
    retriable: ClassVar[bool] = False
    """Whether the same call can succeed later without a change."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigurationError(HeadraceError):
    """A flag, a file or the app spec is wrong.

    Args:
        message: The file or flag, and how many mistakes it has.
        problems: Every mistake found, each naming its path, its value and a remedy.
        hint: What to do about it.
    """

    code = "configuration"

    def __init__(self, message: str, *, problems: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problems = problems

    def __str__(self) -> str:
        return "\n  - ".join((super().__str__(), *self.problems))


class ModelLoadError(HeadraceError):
    """A model class does not import, is no ``kserve.Model``, or its weights cannot be read."""

    code = "model-load"


class UnavailableError(HeadraceError):
    """A broker, a sink or a store does not answer."""

    code = "unavailable"
    retriable = True


class StorageFullError(HeadraceError):
    """The disk under the log or the store is full: nothing was acknowledged."""

    code = "storage-full"
    retriable = True


class TakenOverError(HeadraceError):
    """Another process has this one's name and goes on with its work: this one must end."""

    code = "taken-over"


class OverloadedError(HeadraceError):
    """A bounded queue is full.

    Args:
        message: Which queue, and its bound.
        retry_after: Seconds after which a retry makes sense.
    """

    code = "overloaded"
    retriable = True

    def __init__(self, message: str, *, retry_after: float = 1.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class DeadlineExceededError(HeadraceError):
    """The answer did not come within the time allowed."""

    code = "deadline-exceeded"
    retriable = True


class InvalidEventError(HeadraceError):
    """A record or request claims to be a CloudEvent and is not (CloudEvents 1.0.2)."""

    code = "invalid-event"


class InvalidInputError(HeadraceError):
    """The model cannot read this event's or request's data."""

    code = "invalid-input"


class PayloadTooLargeError(HeadraceError):
    """Data over the stated limit: sending it again cannot help."""

    code = "payload-too-large"


class TemporaryError(HeadraceError):
    """Raised by user code: this failed now and may work later; the event is retried."""

    code = "temporary"
    retriable = True


class PermanentError(HeadraceError):
    """Raised by user code: this event will never work; it goes to the dead letters at once."""

    code = "permanent"
