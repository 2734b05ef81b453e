"""Places in S3, and in what speaks its protocol (MinIO, Ceph, R2).

Login, region and endpoint come from the environment as in every client of S3: ``AWS_ACCESS_KEY_ID`` and
``AWS_SECRET_ACCESS_KEY``, a web identity's token, or the machine's role; ``AWS_REGION``; ``AWS_ENDPOINT_URL`` or
``AWS_ENDPOINT_URL_S3`` for another server; ``AWS_SKIP_SIGNATURE=true`` for a public bucket.
"""

from __future__ import annotations

import io
import os
from contextlib import contextmanager
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from headrace.errors import ConfigurationError, UnavailableError
from headrace.eventing.replay.places.place import Listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from obstore import ReadableFile
    from obstore.store import S3Store
    from typing_extensions import Buffer

BUFFER = 1 << 20
"""Bytes that are asked for at a time."""
PATIENCE = timedelta(seconds=30)
"""How long a request is tried again."""
TRIES = 5


class S3Place:
    """An object, or the objects beneath a prefix; see :class:`headrace.eventing.replay.places.place.Place`.

    Args:
        name: ``s3://BUCKET/KEY``.

    Raises:
        ConfigurationError: it names no bucket, or the package obstore is not installed.
    """

    def __init__(self, name: str) -> None:
        bucket, _, key = name.removeprefix("s3://").partition("/")
        if not bucket:
            raise ConfigurationError(f"{name} names no bucket", hint="write s3://BUCKET/KEY")
        self._bucket = bucket
        self._key = key.strip("/")
        self._store = _store(bucket)

    @property
    def name(self) -> str:
        """Its address."""
        return f"s3://{self._bucket}/{self._key}"

    @property
    def suffix(self) -> str:
        """Of the key."""
        return PurePosixPath(self._key).suffix

    def is_folder(self) -> bool:
        """Whether there are objects beneath the key and none of exactly that key."""
        return not self.version() and next(self.files(), None) is not None

    def version(self) -> str:
        """The object's entity tag."""
        import obstore  # noqa: PLC0415  # an optional package

        if not self._key:
            return ""
        with _faults(self.name):
            try:
                found = obstore.head(self._store, self._key)
            except FileNotFoundError:
                return ""
        return found.get("e_tag") or str(found["last_modified"])

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The object, a megabyte a request."""
        import obstore  # noqa: PLC0415  # an optional package

        with _faults(self.name):
            reader = obstore.open_reader(self._store, self._key, buffer_size=BUFFER)
        with io.BufferedReader(_Reading(self.name, reader), BUFFER) as file:
            yield file

    def files(self) -> Iterator[Listed]:
        """The objects beneath the key, in the order in which S3 lists them: that of their keys' bytes."""
        import obstore  # noqa: PLC0415  # an optional package

        beneath = len(self._key) + 1 if self._key else 0
        with _faults(self.name):
            for page in obstore.list(self._store, prefix=self._key or None):
                for found in page:
                    yield Listed(found["path"][beneath:], found["last_modified"].timestamp())

    def read(self, path: str) -> bytes:
        """The object's content."""
        import obstore  # noqa: PLC0415  # an optional package

        key = f"{self._key}/{path}" if self._key else path
        with _faults(f"s3://{self._bucket}/{key}"):
            return bytes(obstore.get(self._store, key).bytes())

    def write(self, chunks: Iterable[bytes]) -> None:
        """An upload in parts: the object is there when the last one is.

        One that breaks off leaves parts that only the bucket's rule for unfinished uploads takes away.
        """
        import obstore  # noqa: PLC0415  # an optional package

        source = _Remembered(chunks)
        try:
            with _faults(self.name):
                obstore.put(self._store, self._key, iter(source), use_multipart=True)
        except Exception:
            if source.fault:
                raise source.fault from None  # it was not S3 that failed
            raise


class _Remembered:
    """Chunks whose reader turns every exception into one of its own: the real one is kept."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.fault: Exception | None = None

    def __iter__(self) -> Iterator[Buffer]:
        try:
            yield from self._chunks
        except Exception as fault:
            self.fault = fault
            raise


class _Reading(io.RawIOBase):
    """The object as Python's own readers take it."""

    def __init__(self, name: str, reader: ReadableFile) -> None:
        self._name = name
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        room = memoryview(buffer)
        with _faults(self._name):
            found = self._reader.read(len(room))
        room[: len(found)] = memoryview(found)
        return len(found)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()


def _store(bucket: str) -> S3Store:
    try:
        from obstore.store import S3Store as Store  # noqa: PLC0415  # an optional package
    except ImportError:
        raise ConfigurationError(
            "s3:// needs the package obstore, which is not installed", hint="python -m pip install 'headrace[s3]'"
        ) from None
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return Store(
        bucket,
        client_options={"allow_http": endpoint.startswith("http://"), "connect_timeout": timedelta(seconds=5)},
        retry_config={"max_retries": TRIES, "retry_timeout": PATIENCE},
    )


@contextmanager
def _faults(name: str) -> Iterator[None]:
    from obstore import exceptions  # noqa: PLC0415  # an optional package

    try:
        yield
    except FileNotFoundError as fault:
        raise ConfigurationError(f"There is no {name}", hint="look at bucket and key") from fault
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as fault:
        raise ConfigurationError(f"{name} may not be read or written", hint="look at AWS_ACCESS_KEY_ID") from fault
    except exceptions.BaseError as fault:
        if "NoSuchBucket" in str(fault):  # a listing's has no class of its own
            raise ConfigurationError(f"There is no bucket of {name}", hint="look at bucket and endpoint") from fault
        raise UnavailableError(f"S3 does not answer for {name}: {_first_line(fault)}") from fault


def _first_line(fault: Exception) -> str:
    return next((line.strip() for line in str(fault).splitlines() if line.strip()), type(fault).__name__)
