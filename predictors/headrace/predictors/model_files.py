"""The one file that a model's folder is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.errors import ModelLoadError
from headrace.models.storage import model_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def model_file(model: str, endings: Sequence[str], kind: str) -> Path:
    """The file of ``model``: it itself, or the only one with such an ending in the folder that it is.

    Args:
        model: As :func:`headrace.models.storage.model_path` reads it.
        endings: ``.onnx``, for example.
        kind: What the file is, for messages.

    Raises:
        ModelLoadError: nothing is named, it is not there, or the folder has none or several; it says which.
    """
    if not model:
        raise ModelLoadError(f"No {kind} is named", hint="set `model:` in headrace.yaml, or --model URI")
    path = model_path(model)
    if path.is_file():
        return path
    found = sorted(file for file in path.rglob("*") if file.suffix in endings and file.is_file())
    if len(found) == 1:
        return found[0]
    has = ", ".join(str(file.relative_to(path)) for file in found[:5]) or "none"
    raise ModelLoadError(
        f"Model {model!r} must be one {kind} (*{', *'.join(endings)}), or a folder with one: it has {has}",
        hint="name the file itself" if found else "",
    )
