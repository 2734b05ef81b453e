"""Files that a crash leaves whole: appended or not, replaced or not.

A write reaches the page cache before it is acknowledged, so the end of the process loses nothing, by SIGKILL as
well. A power cut may lose what the kernel had not written back, unless ``flush`` is on.
"""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)


class AppendFile:
    """A file that grows by whole appends.

    Args:
        path: The file.
        flush: Whether each append waits for ``fdatasync``.
        create: Whether it is made, with its folder, where it is missing.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, *, flush: bool = False, create: bool = True) -> None:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._flush = flush
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o644)
        self.size = os.fstat(self._descriptor).st_size
        self.synced = self.size
        """Bytes that are on the disk for certain, of those that came since it was opened."""
        if flush and not self.size:
            sync_folder(path.parent)

    def append(self, data: bytes | bytearray) -> int:
        """Write ``data`` at the end, whole or not at all.

        Returns:
            Where it begins.

        Raises:
            OSError: the disk is full, or fails; the file is as before.
        """
        position = self.size
        rest = memoryview(data)
        try:
            at = position
            while rest:
                written = os.pwrite(self._descriptor, rest, at)
                rest = rest[written:]
                at += written
            if self._flush:
                _sync(self._descriptor)
                self.synced = at
        except OSError:
            # Writes go to a position, not to the end of the file: should this fail too, the next append covers it.
            with suppress(OSError):
                os.ftruncate(self._descriptor, position)
            raise
        self.size = at
        return position

    def sync(self) -> None:
        """Bring everything to the disk.

        Raises:
            OSError: the disk fails.
        """
        size = self.size
        _sync(self._descriptor)
        self.synced = size

    def duplicate(self) -> int:
        """A descriptor of the same file, to sync and close elsewhere."""
        return os.dup(self._descriptor)

    def read(self, position: int, size: int) -> bytes:
        """At most ``size`` bytes from ``position``."""
        return os.pread(self._descriptor, size, position)

    def cut(self, size: int, *, keep: bool) -> None:
        """Drop what lies beyond ``size``.

        Args:
            size: Bytes that stay.
            keep: Put what is dropped into a file beside this one: it may hold what someone wants to see.
        """
        logger.warning("%s: cut at byte %d, %d bytes behind it are not whole", self.path, size, self.size - size)
        if keep:
            aside = self.path.with_name(f"{self.path.name}.cut-{size}")
            with aside.open("wb") as copy:
                for position in range(size, self.size, 1 << 20):
                    copy.write(self.read(position, min(1 << 20, self.size - position)))
        os.ftruncate(self._descriptor, size)
        self.size = size
        self.synced = min(self.synced, size)

    def rewrite(self, data: bytes) -> None:
        """Put ``data`` in the place of the whole content, in one step: a crash leaves the old or the new.

        Raises:
            OSError: the disk is full, or fails; the file is as before.
        """
        draft = self.path.with_name(self.path.name + ".new")
        draft.unlink(missing_ok=True)
        fresh = AppendFile(draft, flush=self._flush)
        try:
            fresh.append(data)
            _sync(fresh._descriptor)
            draft.replace(self.path)
        except OSError:
            fresh.close()
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        # The descriptor goes with the file, whatever its name: nothing can fail between the two.
        os.close(self._descriptor)
        self._descriptor, self.size, self.synced = fresh._descriptor, fresh.size, fresh.size
        sync_folder(self.path.parent)

    def close(self) -> None:
        """Close the file; reading and appending end."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def replace(path: Path, data: bytes) -> None:
    """Give the file new content in one step: a crash leaves the old or the new.

    Raises:
        OSError: the disk is full, or fails; the file is as before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            # Otherwise a power cut can leave the new name with no content, and nothing of the old.
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _sync(descriptor: int) -> None:
    """Bring a file's data to the disk; macOS has only the wider call."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def sync_folder(folder: Path) -> None:
    """Bring the names of the folder's files to the disk; where that fails, only a power cut would notice."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class FolderLock:
    """Holds a data folder for one broker, as long as the process lives (``flock``)."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the folder.

        Raises:
            ConfigurationError: another broker holds it, or it cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as fault:
            raise ConfigurationError(
                f"The broker's data folder {self._path.parent} cannot be written: {fault.strerror}",
                hint="name another folder with --data",
            ) from fault
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            os.close(descriptor)
            raise ConfigurationError(
                f"Another broker runs on the data folder {self._path.parent}",
                hint="stop it, or name another folder with --data",
            ) from fault
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the folder go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
