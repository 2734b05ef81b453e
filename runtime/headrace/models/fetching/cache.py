"""The models that were fetched, kept for every process of this machine.

    FOLDER/KEY/entry.json      what it is: URI, digest, files with their sizes and times
    FOLDER/KEY/files/          the files; KEY appears by one rename, whole and written to the disk
    FOLDER/.partial/KEY.XXXX/  what is being fetched; of no use to anybody after a crash
    FOLDER/.locks/KEY.fetch    held by the one process that fetches it
    FOLDER/.locks/KEY.use      shared by all processes that use it; its time is that of the last use

Nothing is ever changed in an entry: it comes and goes whole. It goes only by whoever has KEY.use alone, so never while
a process uses it. A lock ends with its process, however that ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from headrace.errors import ModelLoadError, StorageFullError
from headrace.models.fetching import archive, checksums, process
from headrace.models.fetching.entry import Entry, describe, read_entry, write_entry
from headrace.models.fetching.https import DISK
from headrace.models.fetching.locks import Lock, take, wait

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headrace.models.fetching.settings import CacheSettings
    from headrace.models.model_uri import ModelUri

_LOG = logging.getLogger("headrace.models")


@dataclass(frozen=True, slots=True)
class Kept:
    """One model of the cache."""

    key: str
    entry: Entry
    used: float
    """When it was last asked for, in seconds since the epoch."""
    in_use: bool


class Cache:
    """A folder of fetched models.

    Args:
        settings: Where, and how large.
        environment: Of the processes that fetch; credentials are in it.
    """

    def __init__(self, settings: CacheSettings, environment: Mapping[str, str] = os.environ) -> None:
        self._folder = settings.folder
        self._limit = settings.limit
        self._environment = environment
        self._locks = self._folder / ".locks"
        self._partial = self._folder / ".partial"

    def path(self, uri: ModelUri) -> tuple[Path, Lock | None]:
        """The model's files, fetched unless they are here, and the lock by which they stay until it is closed.

        Raises:
            ModelLoadError: naming the URI, the place and the remedy.
            StorageFullError: there is no room, even after all that nobody uses has gone.
        """
        use = self._use(uri)
        try:
            entry = self._whole(uri)
            if entry is None:
                self._make_folders()
                entry = self._fetched(uri)
        except BaseException:
            if use is not None:
                use.close()
            raise
        if use is not None:
            with contextlib.suppress(OSError):
                os.utime(use.descriptor)
        return self._folder / uri.key / "files" / entry.path, use

    def kept(self) -> list[Kept]:
        """Every model, the least recently used first."""
        found = []
        for place in self._folder.glob("*/entry.json"):
            entry = read_entry(place.parent)
            if entry is not None:
                key = place.parent.name
                found.append(Kept(key, entry, self._used(key), self._in_use(key)))
        return sorted(found, key=lambda kept: kept.used)

    def prune(self, limit: int = 0) -> list[Kept]:
        """Remove models that no process uses, the least recently used first, until the rest takes ``limit`` bytes.

        What a fetch that was killed has left goes too. Returns what was removed.
        """
        for left in self._left():
            shutil.rmtree(left, ignore_errors=True)
        kept = self.kept()
        total = sum(each.entry.size for each in kept)
        gone = []
        for each in kept:
            if total <= limit:
                break
            if self.remove(each.key):
                total -= each.entry.size
                gone.append(each)
        return gone

    def remove(self, key: str) -> bool:
        """Remove one model, unless a process uses it; returns whether it is gone."""
        lock = take(self._locks / f"{key}.use")
        if lock is None:
            return False
        try:
            self._discard(key)
        finally:
            lock.close()
        return True

    def _use(self, uri: ModelUri) -> Lock | None:
        """Share the model; None in a cache that cannot be written, where nothing is ever removed."""
        try:
            self._locks.mkdir(parents=True, exist_ok=True)
            return wait(self._locks / f"{uri.key}.use", lambda _: None, shared=True)
        except OSError as fault:
            if read_entry(self._folder / uri.key) is None:
                raise self._unwritable(fault) from fault
            return None

    def _whole(self, uri: ModelUri) -> Entry | None:
        """The entry; None where there is none, or one that is damaged."""
        place = self._folder / uri.key
        entry = read_entry(place)
        if entry is None:
            return None
        damage = entry.damage(place / "files", thoroughly=uri.checked)
        if damage:
            _LOG.warning("model %s: %s in the cache %s; it is fetched again", uri.shown, damage, place)
            return None
        return entry

    def _fetched(self, uri: ModelUri) -> Entry:
        def told(holder: str) -> None:
            _LOG.info("model %s: waiting for %s, which fetches it", uri.shown, holder)

        lock = wait(self._locks / f"{uri.key}.fetch", told)
        try:
            entry = self._whole(uri)
            if entry is None:
                entry = self._with_room(uri)
                if self._limit:
                    self.prune(self._limit)
            return entry
        finally:
            lock.close()

    def _with_room(self, uri: ModelUri) -> Entry:
        try:
            return self._new(uri)
        except StorageFullError as fault:
            if not self.prune():
                raise self._full(fault) from fault
            _LOG.warning("model %s: the disk was full; models that nobody uses have gone from the cache", uri.shown)
        try:
            return self._new(uri)
        except StorageFullError as fault:
            raise self._full(fault) from fault

    def _new(self, uri: ModelUri) -> Entry:
        for left in self._partial.glob(f"{uri.key}.*"):  # of a fetch that was killed: this process has its lock
            shutil.rmtree(left, ignore_errors=True)
        began = time.monotonic()
        partial = Path(tempfile.mkdtemp(prefix=f"{uri.key}.", dir=self._partial))
        try:
            entry = self._filled(uri, partial)
            self._publish(partial / "entry", uri.key)
        except OSError as fault:
            if fault.errno in DISK:
                raise StorageFullError(f"Model {uri.shown!r} does not fit on the disk: {fault.strerror}") from fault
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        _LOG.info("model %s: fetched %.1f MiB in %.1f s", uri.shown, entry.size / 2**20, time.monotonic() - began)
        return entry

    def _filled(self, uri: ModelUri, partial: Path) -> Entry:
        files, scratch = partial / "entry" / "files", partial / "scratch"
        files.mkdir(parents=True)
        scratch.mkdir()
        process.fetch(uri, files, scratch, self._environment)
        found = checksums.files_of(files)
        if not found:
            raise ModelLoadError(f"Model {uri.shown!r}: there is nothing at that place")
        alone = found[0] if len(found) == 1 else None
        named = alone is not None and is_named(alone, uri)
        checksums.check(alone if named and alone is not None and not uri.manifest else files, uri)
        path = alone.name if named and alone is not None else ""
        if alone is not None and archive.archive_format(alone.name):
            archive.unpack(alone)
            path = ""
        entry = describe(uri, files, path)
        write_entry(partial / "entry", entry)
        return entry

    def _publish(self, made: Path, key: str) -> None:
        for path in [*checksums.files_of(made), *(Path(root) for root, _, _ in os.walk(made))]:
            _sync(path)
        self._discard(key)
        made.rename(self._folder / key)
        _sync(self._folder)

    def _discard(self, key: str) -> None:
        """Take the entry out of reach by one rename, then away; files that are open stay readable."""
        place = self._folder / key
        if not place.exists():
            return
        aside = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=self._partial))
        place.rename(aside / "entry")
        shutil.rmtree(aside, ignore_errors=True)

    def _left(self) -> Iterator[Path]:
        """What fetches that were killed have left; one that goes on has its lock."""
        for partial in self._partial.glob("*.*"):
            lock = take(self._locks / f"{partial.name.rpartition('.')[0]}.fetch")
            if lock is not None:
                yield partial
                lock.close()

    def _used(self, key: str) -> float:
        with contextlib.suppress(OSError):
            return (self._locks / f"{key}.use").stat().st_mtime
        return 0.0

    def _in_use(self, key: str) -> bool:
        with contextlib.suppress(OSError):
            lock = take(self._locks / f"{key}.use")
            if lock is None:
                return True
            lock.close()
        return False

    def _make_folders(self) -> None:
        try:
            self._partial.mkdir(parents=True, exist_ok=True)
            self._locks.mkdir(exist_ok=True)
        except OSError as fault:
            raise self._unwritable(fault) from fault

    def _unwritable(self, fault: OSError) -> ModelLoadError:
        return ModelLoadError(
            f"The model cache {self._folder} cannot be written: {fault.strerror}",
            hint="HEADRACE_MODEL_CACHE names another folder",
        )

    def _full(self, fault: StorageFullError) -> StorageFullError:
        return StorageFullError(
            f"{fault.message} (cache {self._folder})",
            hint="make room, with headrace models prune, or name another disk with HEADRACE_MODEL_CACHE",
        )


def is_named(path: Path, uri: ModelUri) -> bool:
    """Whether the URI names this very file, and not the folder that it is in."""
    return path.name in (uri.last, unquote(uri.last))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
