r"""SHA-256 of a file, and of a folder by the list that ``sha256sum`` prints of it.

The digest of a folder is that of the lines ``HEX  relative/path``, in the order of their paths' bytes:

    find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import ModelLoadError

if TYPE_CHECKING:
    from headrace.models.model_uri import ModelUri

_PIECE = 1 << 20
_LINE = re.compile(r"(?P<digest>[0-9a-fA-F]{64})[ ][ *](?P<path>.+)\Z")


def files_of(place: Path) -> list[Path]:
    """Every file of a folder in the order of their paths, or the one file."""
    if not place.is_dir():
        return [place]
    found = [Path(root, name) for root, _, names in os.walk(place) for name in names]
    return sorted(found, key=lambda path: os.fsencode(path.relative_to(place)))


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_PIECE))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def digest_of(place: Path) -> str:
    """SHA-256 of a file, or of a folder's list (see the module)."""
    if not place.is_dir():
        return file_digest(place)
    digest = hashlib.sha256()
    for path in files_of(place):
        digest.update(f"{file_digest(path)}  {path.relative_to(place).as_posix()}\n".encode())
    return digest.hexdigest()


def check(place: Path, uri: ModelUri) -> None:
    """Compare the files at ``place`` with what the URI says of them.

    Raises:
        ModelLoadError: naming the file and both digests, or what the manifest lacks.
    """
    if uri.manifest:
        listed = place / uri.manifest
        if not listed.is_file():
            raise ModelLoadError(f"Model {uri.shown!r} has no file {uri.manifest!r} at {place}")
        _expect(listed, uri.sha256, uri)
        _check_listed(place, listed, uri)
    elif uri.sha256:
        _expect(place, uri.sha256, uri)


def _check_listed(place: Path, listed: Path, uri: ModelUri) -> None:
    wanted = _listed(listed, uri)
    own = {path.relative_to(place).as_posix() for path in files_of(place)} - {uri.manifest}
    if missing := sorted(wanted.keys() - own):
        raise ModelLoadError(f"Model {uri.shown!r}: {uri.manifest} lists {missing[0]}, which is not there")
    if more := sorted(own - wanted.keys()):
        raise ModelLoadError(f"Model {uri.shown!r}: {uri.manifest} does not list {more[0]}, which is there")
    for name, digest in wanted.items():
        _expect(place / name, digest, uri)


def _listed(listed: Path, uri: ModelUri) -> dict[str, str]:
    lines = [line for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()]
    found = [_LINE.match(line) for line in lines]
    wrong = [line for line, match in zip(lines, found, strict=True) if match is None]
    if wrong:
        raise ModelLoadError(f"Model {uri.shown!r}: {uri.manifest} has the line {wrong[0]!r}", hint="HEX  path")
    return {match["path"].removeprefix("./"): match["digest"].lower() for match in found if match}


def _expect(path: Path, digest: str, uri: ModelUri) -> None:
    if digest and (have := digest_of(path)) != digest:
        raise ModelLoadError(
            f"Model {uri.shown!r}: {path.name} has SHA-256 {have}, and {digest} is wanted",
            hint="the files have changed or are damaged; if they are right, correct the checksum",
        )
