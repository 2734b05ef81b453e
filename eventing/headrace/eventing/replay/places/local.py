"""Places on this machine."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from headrace.errors import ConfigurationError, StorageFullError
from headrace.eventing.replay.places.place import Listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class LocalPlace:
    """A path; see :class:`headrace.eventing.replay.places.place.Place`.

    Args:
        path: A relative one is of the folder that the process is in now.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()

    @property
    def name(self) -> str:
        """The absolute path."""
        return str(self._path)

    @property
    def suffix(self) -> str:
        """Of the file's name."""
        return self._path.suffix

    def is_folder(self) -> bool:
        """Whether it is a directory."""
        return self._path.is_dir()

    def version(self) -> str:
        """Size and time of the last change."""
        if not self._path.is_file():
            return ""
        with _faults(self._path):
            found = self._path.stat()
        return f"{found.st_size}-{found.st_mtime_ns}"

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The file."""
        with _faults(self._path), self._path.open("rb") as file:
            yield file

    def files(self) -> Iterator[Listed]:
        """The files of all directories beneath it."""
        with _faults(self._path):
            found = sorted(file.relative_to(self._path) for file in self._path.rglob("*") if file.is_file())
            for path in found:
                yield Listed(path.as_posix(), (self._path / path).stat().st_mtime)

    def read(self, path: str) -> bytes:
        """The file's content."""
        with _faults(self._path):
            return (self._path / path).read_bytes()

    def write(self, chunks: Iterable[bytes]) -> None:
        """Under another name first, on the disk; then in one rename."""
        beside = self._path.with_name(f"{self._path.name}.part")
        try:
            with beside.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as fault:
            raise StorageFullError(
                f"Cannot write {self._path}: {fault.strerror}", hint="make room, or name another place"
            ) from fault
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as fault:
        raise ConfigurationError(
            f"There is no file {fault.filename or path}", hint="`headrace record` makes one"
        ) from fault
    except OSError as fault:
        raise ConfigurationError(f"Cannot read {fault.filename or path}: {fault.strerror}") from fault
