"""From ``MODULE:CLASS`` or ``FILE.py:CLASS`` to an instance of a ``kserve.Model``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import HeadraceError, ModelLoadError
from headrace.models.kserve_api import Model
from headrace.serving.search_path import search_last

if TYPE_CHECKING:
    from types import ModuleType

_PRIVATE = "_headrace_user"
"""Prefix of the names under which files of the user's are imported, so that they hide no installed package."""


def load_class(target: str) -> type[Any]:
    """The class that ``target`` names.

    A module is looked for among the installed packages first, then in the working folder; a file is imported under
    a private name, and its own folder is searched last. So a user's ``transformers/`` folder or
    ``torch.py`` never stands in the way of the package of that name.

    Raises:
        ModelLoadError: in one line, the class, the file and the cause.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise ModelLoadError(f"Class {target!r} must read MODULE:CLASS or path/to/file.py:CLASS")
    module = _file_module(target, Path(place)) if place.endswith(".py") else _named_module(target, place)
    found = getattr(module, name, None)
    if found is None:
        classes = [key for key, value in vars(module).items() if _is_model(value) and value is not Model]
        has = f"it has {', '.join(classes)}" if classes else "it has no kserve.Model"
        raise ModelLoadError(f"Class {target!r}: {_where(module)} has no {name}", hint=has)
    if not _is_model(found):
        raise ModelLoadError(f"Class {target!r}: {name} of {_where(module)} is no kserve.Model")
    return found  # type: ignore[no-any-return]  # checked on the line above


def build(found: type[Any], name: str, model: str | None) -> Any:
    """An instance called ``name``; it gets ``model`` where its constructor takes one and one was given.

    Raises:
        ModelLoadError: the constructor raised, or wants other arguments.
    """
    options = {"model": model} if model is not None and _takes(found, "model") else {}
    try:
        return found(name, **options)
    except HeadraceError:
        raise
    except Exception as fault:
        raise ModelLoadError(f"{_title(found)} cannot be made with name {name!r}: {_cause(fault)}") from fault


def load(model: Any) -> Any:
    """Let the model load itself, unless its constructor has; returns what ``load`` returned.

    Raises:
        ModelLoadError: ``load`` raised.
    """
    if model.ready:
        return None
    try:
        return model.load()
    except HeadraceError:
        raise
    except Exception as fault:
        raise ModelLoadError(f"load() of {_title(type(model))} failed: {_cause(fault)}") from fault


def _named_module(target: str, place: str) -> ModuleType:
    search_last(Path.cwd())
    if _exists(place):
        installed: ModuleType = _imported(target, lambda: importlib.import_module(place))
        return installed
    # A folder of the user's that is named as an installed package hides behind it; its files are still files.
    path = Path(*place.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return _file_module(target, file)
    raise ModelLoadError(
        f"Class {target!r}: there is no module {place!r}",
        hint=f"install it, or run in the folder that holds {path.with_suffix('.py')}",
    )


def _exists(place: str) -> bool:
    try:
        return importlib.util.find_spec(place) is not None
    except (ImportError, ValueError):
        return False
    except Exception:  # noqa: BLE001  # a parent package that fails to import says so when it is imported
        return True


def _file_module(target: str, file: Path) -> ModuleType:
    if not file.is_file():
        raise ModelLoadError(f"Class {target!r}: there is no file {file}", hint=f"looked in {Path.cwd()}")
    name = _PRIVATE + re.sub(r"\W", "_", str(file.with_suffix("").absolute()))
    spec = importlib.util.spec_from_file_location(name, file.absolute())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    search_last(file.absolute().parent)
    sys.modules[name] = module
    loader = spec.loader
    try:
        _imported(target, lambda: loader.exec_module(module))
    except ModelLoadError:
        del sys.modules[name]
        raise
    return module


def _imported(target: str, action: Any) -> Any:
    try:
        return action()
    except HeadraceError:
        raise
    except (Exception, SystemExit) as fault:
        raise ModelLoadError(f"Class {target!r} does not import: {_cause(fault)}") from fault


def _is_model(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Model)


def _takes(found: type[Any], parameter: str) -> bool:
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == parameter or p.kind is p.VAR_KEYWORD for p in parameters)


def _title(found: type[Any]) -> str:
    module = sys.modules.get(found.__module__)
    return f"{found.__name__} of {_where(module)}" if module else found.__name__


def _where(module: ModuleType) -> str:
    return module.__file__ or module.__name__


def _cause(fault: BaseException) -> str:
    """The exception in one line, with the line of the user's code that raised it."""
    text = " ".join(f"{type(fault).__name__}: {fault}".split())
    trace = fault.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return text if trace is None else f"{text} ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"
