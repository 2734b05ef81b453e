"""Plain HTTP: one file, by GET, taken up again where it broke off.

KServe's own fetcher takes nothing but ``application/octet-stream``, gives up at the first hiccup and needs every
store's client installed; this needs nothing. As KServe has it, the variable ``HOST-headers`` holds headers for a host
as a JSON object; proxies and ``SSL_CERT_FILE`` are those of the environment.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from http.client import HTTPException, IncompleteRead
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from headrace.errors import ModelLoadError

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT = 30.0
"""Seconds without a byte."""
_TRIES = 5
"""Times that nothing comes, one after another."""
_PIECE = 1 << 20
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
"""Errors that are the disk's, not the host's."""
_AGAIN = (HTTPStatus.TOO_MANY_REQUESTS, 500, 502, 503, 504)
_WHY = {
    401: ("it wants a login", "put headers into the variable {host}-headers, a JSON object"),
    403: ("it refuses access", "look at the variable {host}-headers, and whether a signed URL has expired"),
    404: ("it has no such file", "look at the path"),
    410: ("it has the file no more", "look at the path"),
}


def fetch(place: str, folder: Path) -> None:
    """Put the file into ``folder``, under the last part of its path.

    Raises:
        ModelLoadError: naming the host, and what it answered.
        OSError: the disk does not take it.
    """
    url, headers = _asked(place)
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    if not name or name in (".", "..") or "/" in name:
        raise ModelLoadError("the path of the URI names no file", hint="it must end with the file's name")
    download = _Download(url, headers, folder / name)
    idle = 0
    while True:
        had = download.have
        try:
            return download.go_on()
        except (OSError, HTTPException) as fault:
            if isinstance(fault, OSError) and fault.errno in DISK:
                raise
            idle = 0 if download.have > had else idle + 1
            if idle >= _TRIES or not _may_pass(fault):
                raise _told(fault, url) from fault
            time.sleep(min(8.0, 0.25 * 2**idle))


class _Download:
    """One file on its way here.

    Args:
        url: Without a login.
        headers: For this host alone: a redirection elsewhere does not take them along.
        target: The file.
    """

    def __init__(self, url: str, headers: dict[str, str], target: Path) -> None:
        self.have = 0
        """Bytes that are here."""
        self._url = url
        self._headers = headers
        self._target = target
        self._tag = ""
        """What the server calls this state of the file; without it nothing can be taken up again."""

    def go_on(self) -> None:
        """Fetch what is missing."""
        request = urllib.request.Request(self._url, headers={"Accept-Encoding": "identity"})  # noqa: S310  # http and https alone come here
        for name, value in self._headers.items():
            request.add_unredirected_header(name, value)
        if self.have and self._tag:
            request.add_header("Range", f"bytes={self.have}-")
            request.add_header("If-Range", self._tag)
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310  # as above
            goes_on = answer.status == HTTPStatus.PARTIAL_CONTENT
            self.have = self.have if goes_on else 0
            self._tag = answer.headers.get("ETag", "")
            length = answer.headers.get("Content-Length")
            missing = None if length is None else int(length)
            self._write(answer, "ab" if goes_on else "wb", missing)

    def _write(self, answer: Any, mode: str, missing: int | None) -> None:
        begun = self.have
        with self._target.open(mode) as file:
            while piece := answer.read(_PIECE):
                file.write(piece)
                self.have += len(piece)
        if missing is not None and self.have - begun != missing:
            raise IncompleteRead(b"", missing - (self.have - begun))


def _asked(place: str) -> tuple[str, dict[str, str]]:
    """The URL without its login, and the headers that go with it."""
    parts = urlsplit(place)
    host = parts.hostname or ""
    try:
        own = json.loads(os.environ.get(f"{host}-headers", "{}"))
    except ValueError as fault:
        raise ModelLoadError(f"the variable {host}-headers is no JSON object") from fault
    headers = {str(name): str(value) for name, value in own.items()}
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), headers


def _may_pass(fault: Exception) -> bool:
    """Whether another try may have better luck."""
    if isinstance(fault, urllib.error.HTTPError):
        return fault.code in _AGAIN
    if isinstance(fault, urllib.error.URLError):
        return isinstance(fault.reason, ConnectionError | TimeoutError)
    return isinstance(fault, HTTPException | ConnectionError | TimeoutError)


def _told(fault: Exception, url: str) -> ModelLoadError:
    where = urlsplit(url)
    if isinstance(fault, urllib.error.HTTPError):
        why, hint = _WHY.get(fault.code, ("", ""))
        said = f"{why} ({fault.code})" if why else f"it answers {fault.code} {fault.reason}"
        return ModelLoadError(f"{where.netloc} does not give it: {said}", hint=hint.format(host=where.hostname))
    reason = getattr(fault, "reason", fault)
    hint = "SSL_CERT_FILE names the file of your authority" if "CERTIFICATE_VERIFY" in str(reason) else ""
    return ModelLoadError(f"{where.netloc} does not answer: {reason}", hint=hint)
