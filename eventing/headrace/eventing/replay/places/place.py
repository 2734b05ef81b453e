"""A file or folder by the name that a user gives it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager


@dataclass(frozen=True, slots=True)
class Listed:
    """A file beneath a folder."""

    path: str
    """Beneath the folder, its parts joined by ``/``."""
    modified: float
    """Seconds since the epoch."""


class Place(Protocol):
    """A file or a folder, which may not be there yet. Its methods block."""

    @property
    def name(self) -> str:
        """The whole name, by which another process finds it too."""

    @property
    def suffix(self) -> str:
        """From the last dot of the last part of the name on; empty where there is none."""

    def is_folder(self) -> bool:
        """Whether files lie beneath it.

        Raises:
            ConfigurationError: it may not be looked at.
            UnavailableError: the store does not answer.
        """

    def version(self) -> str:
        """What changes when the file does; empty where there is no file.

        Raises:
            ConfigurationError: it may not be looked at.
            UnavailableError: the store does not answer.
        """

    def open(self) -> AbstractContextManager[BinaryIO]:
        """The file, to be read from its begin; seekable.

        Raises:
            ConfigurationError: it is not there, or may not be read; here or from a read of it.
            UnavailableError: the store does not answer; here or from a read of it.
        """

    def files(self) -> Iterator[Listed]:
        """The files beneath the folder in the order of their paths, all of them.

        Raises:
            ConfigurationError: it may not be looked at.
            UnavailableError: the store does not answer.
        """

    def read(self, path: str) -> bytes:
        """The content of a file beneath the folder.

        Raises:
            ConfigurationError: it is not there, or may not be read.
            UnavailableError: the store does not answer.
        """

    def write(self, chunks: Iterable[bytes]) -> None:
        """Write the file; its name is given to the whole of it alone, and nothing is left of one that fails.

        Raises:
            StorageFullError: it cannot be written.
            UnavailableError: the store does not answer.
        """


def place_of(name: str) -> Place:
    """The place of this name: ``s3://BUCKET/KEY``, or a path on this machine.

    Raises:
        ConfigurationError: it names another kind of storage, or what is needed for this one is not installed.
    """
    from headrace.errors import ConfigurationError  # noqa: PLC0415  # beside its only use
    from headrace.eventing.replay.places.local import LocalPlace  # noqa: PLC0415  # it imports this module
    from headrace.eventing.replay.places.s3 import S3Place  # noqa: PLC0415  # the same

    scheme, sign, _ = name.partition("://")
    if not sign:
        return LocalPlace(Path(name))
    if scheme != "s3":
        raise ConfigurationError(f"{name} is neither a path nor s3://BUCKET/KEY", hint="copy it to one of these")
    return S3Place(name)
