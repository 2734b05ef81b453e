"""A model URI taken apart: what the store is asked for, and what Headrace checks of it.

    s3://bucket/labels/model.safetensors?sha256=HEX    the file's digest
    s3://bucket/labels?sha256=HEX                      the digest of the folder's list of digests
    s3://bucket/labels?manifest=SHA256SUMS             the folder's own list, as `sha256sum` writes it
    s3://bucket/labels?manifest=SHA256SUMS&sha256=HEX  that list, whose digest is known

Every other parameter is the store's and stays as it is written, since a signature may stand over it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from headrace.errors import ModelLoadError

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")
_OWN = re.compile(r"(sha256|manifest)=(.*)\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")
_SLUG = re.compile(r"[^A-Za-z0-9._=-]+")
HIDDEN = "***"
"""What stands where something secret was."""


@dataclass(frozen=True, slots=True)
class ModelUri:
    """Where a model is, and what is known of it."""

    place: str
    """The URI as the store is asked, or a path."""
    sha256: str = ""
    """Digest in lower case; empty where none is asked for."""
    manifest: str = ""
    """The file within the folder that lists its digests; empty for none."""

    @property
    def scheme(self) -> str:
        """``s3``, ``file``, ...; empty for a path."""
        found = _SCHEME.match(self.place)
        return found[1] if found else ""

    @property
    def shown(self) -> str:
        """The URI for people and logs: without a login, and without the store's parameters, which may be signatures."""
        before, mark, _ = _LOGIN.sub("", self.place).partition("?")
        return f"{before}?{HIDDEN}" if mark and self.scheme else before + mark

    @property
    def last(self) -> str:
        """The last part of the path."""
        path = self.place.partition("?")[0] if self.scheme else self.place
        return path.rstrip("/").rpartition("/")[2]

    @property
    def checked(self) -> bool:
        """Whether anything is to be compared with a digest."""
        return bool(self.sha256 or self.manifest)

    @property
    def key(self) -> str:
        """The name of its folder in a cache: the same for the same files.

        A signature changes from day to day: where the digest says which files these are, it makes no difference.
        """
        place = _LOGIN.sub("", self.place)
        if self.sha256 and self.scheme in ("http", "https"):
            place = place.partition("?")[0]
        mark = hashlib.sha256(f"{place}\n{self.sha256}\n{self.manifest}".encode()).hexdigest()[:16]
        slug = _SLUG.sub("-", self.last).strip(".-")[:40] or self.scheme
        return f"{slug}-{mark}"


def parse_model_uri(text: str) -> ModelUri:
    """The URI's parts.

    Raises:
        ModelLoadError: ``sha256`` is no digest, or ``manifest`` leads out of the folder.
    """
    head, mark, query = text.rpartition("?")
    if not mark:
        return ModelUri(text)
    kept: list[str] = []
    own = {"sha256": "", "manifest": ""}
    for part in query.split("&"):
        found = _OWN.match(part)
        if found is None:
            kept.append(part)
        else:
            own[found[1]] = found[2]
    if len(kept) == query.count("&") + 1:
        return ModelUri(text)
    uri = ModelUri(head + ("?" + "&".join(kept) if kept else ""), own["sha256"].lower(), own["manifest"])
    if uri.sha256 and not _DIGEST.match(uri.sha256):
        raise ModelLoadError(
            f"Model {uri.shown!r}: sha256={own['sha256']} is no SHA-256: that has 64 hexadecimal digits"
        )
    if uri.manifest.startswith("/") or ".." in uri.manifest.split("/"):
        raise ModelLoadError(f"Model {uri.shown!r}: manifest={uri.manifest} must be a file within the model's folder")
    return uri


def store_place(text: str) -> str:
    """The URI as KServe's own storage is asked: without Headrace's parameters."""
    return parse_model_uri(text).place


def hidden(text: str, uri: ModelUri, secrets: tuple[str, ...] = ()) -> str:
    """``text`` without what must not be seen: logins in URLs, the URI's parameters, and each of ``secrets``."""
    told = text.replace(uri.place, uri.shown) if uri.place else text
    query = uri.place.partition("?")[2] if uri.scheme else ""
    for secret in (query, *secrets):
        if secret:
            told = told.replace(secret, HIDDEN)
    return _LOGIN.sub("", told)
