"""What a serving process imports, imported ahead: nothing is built, loaded or started."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.serving.search_path import search_last

if TYPE_CHECKING:
    from collections.abc import Iterable

_NEEDED = (
    "headrace.models.kserve_api",
    "headrace.serving.app",
    "headrace.serving.hosting",
    "headrace.serving.loading",
    "headrace.serving.rpc",
    "headrace.serving.server",
    "headrace.telemetry.tracing",
)
_USEFUL = ("uvloop", "opentelemetry.exporter.otlp.proto.http.trace_exporter")


def preload(classes: Iterable[str]) -> None:
    """Import all that serving these ``MODULE:CLASS`` needs, and what they say that they import later.

    A class may name modules that its ``load`` or its first request imports, as a tuple: ``imports = ("tokenizers",)``.

    Raises:
        ModelLoadError: a class does not import; a process that serves it would say the same.
    """
    search_last(Path.cwd())
    for module in _NEEDED:
        importlib.import_module(module)
    from headrace.serving.loading import load_class  # noqa: PLC0415  # heavy: see above

    named = [getattr(load_class(target), "imports", ()) for target in classes]
    # A user's class may well mean something else by that word.
    later = [name for names in named if isinstance(names, tuple) for name in names if isinstance(name, str)]
    for module in (*_USEFUL, *later):
        _try(module)


def _try(module: str) -> None:
    """A module that is missing is missed, if at all, where it is used: with a message of its own."""
    try:
        importlib.import_module(module)
    except ImportError:
        return
