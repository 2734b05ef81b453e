"""From a manifest's handler to what is called with ``(data, context)``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from headrace.errors import HeadraceError, ModelLoadError
from headrace.predictors.torchserve import shim
from headrace.predictors.torchserve.base_handler import BaseHandler
from headrace.predictors.torchserve.classes import classes_of, module_of
from headrace.predictors.torchserve.image_classifier import ImageClassifier

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from headrace.predictors.torchserve.archive import Manifest
    from headrace.predictors.torchserve.context import Context

_BUILT_IN = {"base_handler": BaseHandler, "image_classifier": ImageClassifier}


def entry_point(manifest: Manifest, folder: Path, context: Context) -> Callable[[Any, Context], Any]:
    """The handler, initialized.

    A function named in the manifest (``handler.py:serve``), or one called ``handle`` in the handler's module, is called
    once without data, as TorchServe does; else the module's one class with a ``handle`` is made and initialized.

    Raises:
        ModelLoadError: the handler does not import, has nothing to call, or fails to initialize; says which and why.
    """
    shim.install()
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # the archive's files import each other; nothing installed is hidden
    file, function = folder / f"{manifest.handler_module}.py", manifest.handler.partition(":")[2]
    title = f"The handler {manifest.handler} of '{manifest.name}'"
    try:
        if not file.is_file():
            return _initialized(_BUILT_IN[manifest.handler_module](), context)
        module = module_of(file)
        found = _function(module, function, title)
        if found is None:
            return _initialized(_one_class(module, title)(), context)
        found(None, context)
    except HeadraceError:
        raise
    except (Exception, SystemExit) as fault:
        raise ModelLoadError(f"{title} fails to load: {type(fault).__name__}: {fault} {_place(fault)}") from fault
    return found


def _function(module: ModuleType, name: str, title: str) -> Callable[[Any, Context], Any] | None:
    found: Any = getattr(module, name or "handle", None)
    if name and not callable(found):
        raise ModelLoadError(f"{title}: there is no function {name}")
    return found if callable(found) else None


def _initialized(handler: Any, context: Context) -> Callable[[Any, Context], Any]:
    if hasattr(handler, "initialize"):
        handler.initialize(context)
    handle: Callable[[Any, Context], Any] = handler.handle
    return handle


def _one_class(module: ModuleType, title: str) -> type[Any]:
    found = [each for each in classes_of(module) if callable(getattr(each, "handle", None))]
    # A base class of another one beside it is there for that one.
    last = [each for each in found if not any(each is not other and issubclass(other, each) for other in found)]
    if len(last) != 1:
        names = ", ".join(each.__name__ for each in last) or "none"
        raise ModelLoadError(f"{title} must have a function handle, or one class with a method handle; it has {names}")
    return last[0]


def _place(fault: BaseException) -> str:
    trace = fault.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"
