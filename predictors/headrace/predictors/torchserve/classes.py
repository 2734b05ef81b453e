"""Python files of an archive, and the classes that they bring."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


def classes_of(module: ModuleType, parent: type[Any] | None = None) -> list[type[Any]]:
    """Classes that the module itself defines, in their order; below ``parent`` alone where one is given."""
    found = [each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == module.__name__]
    return [each for each in found if parent is None or issubclass(each, parent)]


def module_of(file: Path) -> ModuleType:
    """The file's module, under a name of its own: a handler called image_classifier.py hides nobody's module."""
    name = "_headrace_handler" + re.sub(r"\W", "_", str(file.with_suffix("")))
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
