"""A project as a value, and as files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError, UnavailableError
from headrace.manifests.loading import parse_apps
from headrace.predictors.torchserve.archive import unpack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SPEC = "headrace.yaml"
ARCHIVE = "archive"
"""A project's folder of what was in an archive."""


@dataclass(frozen=True, slots=True)
class Project:
    """The files of a project that can be run: its ``headrace.yaml`` is right."""

    name: str
    """The app's."""
    files: Mapping[str, bytes]
    """Content by path in the project's folder."""
    first: tuple[str, ...]
    """Commands to begin with, each with what it does."""
    notes: tuple[str, ...] = ()
    """What the user should know of it."""
    archive: Path | None = None
    """A TorchServe archive that is unpacked into it."""

    def __post_init__(self) -> None:
        parse_apps(self.files[SPEC].decode(), SPEC)


def check_free(folder: Path) -> None:
    """Refuse a folder that holds anything.

    Raises:
        ConfigurationError: it does, or it is no folder.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is a file", hint="name a folder that is new or empty")
    there = sorted(path.name for path in folder.iterdir())
    if there:
        some = ", ".join(there[:3]) + (", ..." if there[3:] else "")
        raise ConfigurationError(
            f"{folder} is not empty: it has {some}", hint="nothing was written; name a folder that is new or empty"
        )


def write(project: Project, folder: Path) -> None:
    """Make the folder and its files.

    Raises:
        UnavailableError: a file cannot be written.
        ModelLoadError: the archive is damaged.
    """
    try:
        for name, content in project.files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    except OSError as fault:
        raise UnavailableError(f"Cannot write {fault.filename}: {fault.strerror}") from fault
    if project.archive is not None:
        unpack(project.archive, folder / ARCHIVE)
