"""Imports of kserve only what hosting a model needs.

``import kserve`` brings pandas, FastAPI, the command line of httpx, and 126 classes of the Kubernetes API: a second of
CPU at every start from zero, for things that a model server has no use for. Here the package is entered without its
``__init__``, and pandas, which its modules use in few functions, is there when such a function asks.

For whoever imports kserve afterwards nothing differs: a name that is not there yet runs the package's ``__init__``.
``HEADRACE_WHOLE_KSERVE=1`` imports it the plain way.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

WHOLE = "HEADRACE_WHOLE_KSERVE"
_LATER = "pandas"
_COMMAND_LINE = "httpx._main"
"""httpx does without where it cannot be imported; with it come click, rich and pygments."""
_LOCK = threading.RLock()
_NAMES = {
    "Model": "model",
    "PredictorConfig": "predictor_config",
    "InferenceGRPCClient": "inference_client",
    "InferenceRESTClient": "inference_client",
    "RESTConfig": "inference_client",
    "InferRequest": "protocol.infer_type",
    "InferInput": "protocol.infer_type",
    "InferResponse": "protocol.infer_type",
    "InferOutput": "protocol.infer_type",
}
"""What user code imports from the package itself, and the module where it is."""


def enter() -> None:
    """Make ``kserve`` importable without its weight; does nothing where somebody has imported it already."""
    if "kserve" in sys.modules:
        return
    if os.environ.get(WHOLE):
        with empty_command_line():
            importlib.import_module("kserve")
        return
    spec = importlib.util.find_spec("kserve")
    if spec is None:
        raise ModuleNotFoundError("No module named 'kserve'", name="kserve")
    package = importlib.util.module_from_spec(spec)
    sys.modules["kserve"] = package
    with _stand_ins():
        for name, module in _NAMES.items():
            setattr(package, name, getattr(importlib.import_module(f"kserve.{module}"), name))
    vars(package)["__getattr__"] = _Rest(package)


@contextmanager
def empty_command_line() -> Iterator[None]:
    """Let kserve, which parses ``sys.argv`` when it is imported, see no flags."""
    kept = sys.argv
    sys.argv = kept[:1]
    try:
        yield
    finally:
        sys.argv = kept


class _Rest:
    """The package's ``__getattr__``: runs its ``__init__`` for the first name that is missing."""

    def __init__(self, package: ModuleType) -> None:
        self._package = package

    def __call__(self, name: str) -> Any:
        package = self._package
        with _LOCK:
            if name.startswith("__") or vars(package).get("__getattr__") is not self:
                if name in vars(package):
                    return vars(package)[name]
                raise AttributeError(f"module 'kserve' has no attribute {name!r}")
            del vars(package)["__getattr__"]
            assert package.__spec__ is not None
            assert package.__spec__.loader is not None
            with empty_command_line():
                package.__spec__.loader.exec_module(package)
        return getattr(package, name)


class _Later(ModuleType):
    """Stands for a module in those of kserve that imported it: the module itself, from the first use on.

    While kserve is imported its names are only read for annotations.
    """

    importing = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Any if self.importing else getattr(importlib.import_module(self.__name__), name)


@contextmanager
def _stand_ins() -> Iterator[None]:
    """While the block runs, modules that are imported in vain are not imported."""
    later = _Later(_LATER)
    standing: dict[str, Any] = {_LATER: later, _COMMAND_LINE: None, **_fastapi()}
    standing = {name: module for name, module in standing.items() if name.partition(".")[0] not in sys.modules}
    sys.modules.update(standing)
    try:
        yield
    finally:
        later.importing = False
        for name, module in standing.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _fastapi() -> dict[str, ModuleType]:
    """What FastAPI calls its responses is starlette's."""
    responses = ModuleType("fastapi.responses")
    responses.JSONResponse = importlib.import_module("starlette.responses").JSONResponse  # type: ignore[attr-defined]
    package = ModuleType("fastapi")
    package.responses = responses  # type: ignore[attr-defined]
    package.__path__ = []
    return {"fastapi": package, "fastapi.responses": responses}
