"""What is in a ``.mar``: a zip file with ``MAR-INF/MANIFEST.json``, as torch-model-archiver writes it."""

from __future__ import annotations

import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import orjson
import yaml

from headrace.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFEST = "MAR-INF/MANIFEST.json"
BUILT_IN = frozenset({"base_handler", "image_classifier"})
"""Handlers of TorchServe's own that are here as well."""
_NOT_HERE = frozenset({"image_segmenter", "object_detector", "text_classifier", "text_handler", "vision_handler"})
_LARGEST = 64 << 30
"""Bytes that an archive may unpack to."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The model that an archive describes."""

    name: str
    version: str
    handler: str
    """``image_classifier``, ``handler.py``, or ``handler.py:function``."""
    serialized: str
    """The weights, TorchScript or program; empty where the handler loads by itself."""
    model_file: str
    """The network's code, beside weights that are a state dict; else empty."""
    config_file: str
    requirements: str
    document: dict[str, Any]
    """As the archive has it."""

    @property
    def handler_module(self) -> str:
        """The handler's name without ending and function."""
        return PurePosixPath(self.handler.partition(":")[0]).name.removesuffix(".py")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an unpacked archive, whose handler can be run.

    Raises:
        ModelLoadError: there is none, it is no manifest of a model, or it wants what is not here; names it.
    """
    file = folder / MANIFEST
    try:
        document = orjson.loads(file.read_bytes())
    except FileNotFoundError as fault:
        raise ModelLoadError(f"{folder} is no TorchServe archive: it has no {MANIFEST}") from fault
    except (OSError, orjson.JSONDecodeError) as fault:
        raise ModelLoadError(f"{file} cannot be read: {fault}") from fault
    model = document.get("model") if isinstance(document, dict) else None
    if not isinstance(model, dict):
        what = "a workflow, which is not supported" if "workflow" in (document or {}) else "no model"
        raise ModelLoadError(f"{file} describes {what}", hint="each of a workflow's models has an archive of its own")
    name, version, handler, serialized, model_file, config_file, requirements = (
        str(model.get(key) or "") for key in _MEMBERS
    )
    found = Manifest(name, version, handler, serialized, model_file, config_file, requirements, document)
    _check_handler(found, folder)
    return found


_MEMBERS = ("modelName", "modelVersion", "handler", "serializedFile", "modelFile", "configFile", "requirementsFile")


def read_config(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """The model's own configuration (``--config-file``); empty where there is none.

    Raises:
        ModelLoadError: it is no YAML mapping.
    """
    if not manifest.config_file:
        return {}
    file = folder / manifest.config_file
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as fault:
        raise ModelLoadError(f"{file} cannot be read: {fault}") from fault
    if not isinstance(found, dict):
        raise ModelLoadError(f"{file} must be a mapping, not {type(found).__name__}")
    return found


def unpack(archive: Path, folder: Path, *, endings: tuple[str, ...] = ()) -> None:
    """Write the archive's files below ``folder``, and nothing anywhere else.

    Args:
        archive: The ``.mar``.
        folder: Made where it is not there.
        endings: Of the files that are written; empty for all.

    Raises:
        ModelLoadError: it is no zip file, or one of its names would lead out of the folder; nothing has been written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = list(_members(opened, archive))
            for member, inside in members:
                if endings and inside.suffix not in endings:
                    continue
                target = folder / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source, target.open("wb") as sink:
                    while part := source.read(1 << 20):
                        sink.write(part)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as fault:
        raise ModelLoadError(
            f"{archive} is no TorchServe archive: {fault}",
            hint="torch-model-archiver writes one with --archive-format default",
        ) from fault
    except OSError as fault:
        raise ModelLoadError(f"{archive} cannot be unpacked: {fault}") from fault


def _members(opened: zipfile.ZipFile, archive: Path) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    size = 0
    for member in opened.infolist():
        inside = PurePosixPath(member.filename.replace("\\", "/"))
        mode = member.external_attr >> 16
        if inside.is_absolute() or ".." in inside.parts or ":" in inside.parts[0] or stat.S_ISLNK(mode):
            raise ModelLoadError(
                f"{archive}: its entry {member.filename!r} leads out of the archive; nothing was unpacked"
            )
        size += member.file_size
        if size > _LARGEST:
            raise ModelLoadError(f"{archive} unpacks to more than {_LARGEST >> 30} GiB; nothing was unpacked")
        if not member.is_dir():
            yield member, inside


def _check_handler(manifest: Manifest, folder: Path) -> None:
    named = manifest.handler_module
    if not named:
        raise ModelLoadError(f"{folder / MANIFEST} names no handler")
    own = folder / f"{named}.py"
    if own.is_file() or named in BUILT_IN:
        return
    if named in _NOT_HERE or not manifest.handler.endswith(".py"):
        raise ModelLoadError(
            f"{folder}: TorchServe's handler {named!r} is not supported, only {', '.join(sorted(BUILT_IN))} are",
            hint="put the handler's code into the archive as a file of your own",
        )
    raise ModelLoadError(f"{folder}: the handler's file {own.name} is not in the archive")


__all__ = ["BUILT_IN", "MANIFEST", "Manifest", "read_config", "read_manifest", "unpack"]
