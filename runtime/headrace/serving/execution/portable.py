"""What can be said between a server and the process of one of its models.

Requests, answers and faults are pickled, but for the bytes of large arrays, which travel beside the pickle (PEP 574).
The server's side has not imported the user's modules and is not to: a dataclass of the user's crosses as the object
that it is in JSON, an exception as the nearest class that is not the user's, with the problem that it is.
"""

from __future__ import annotations

import enum
import io
import pickle
import sys
import traceback
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import HeadraceError
from headrace.models.kserve_api import messages
from headrace.serving import faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.eventing.results import Problem

LARGE = 8192
"""Bytes of an array from which on it travels beside the pickle: below, one more piece costs more than the copy."""
_SHARED = frozenset({*sys.stdlib_module_names, "google", "headrace", "kserve", "numpy"})
"""Packages whose classes both sides have, beside Python's own."""
_OWN_FAULTS = ("headrace.errors", "kserve.errors", "builtins")
"""Modules whose exceptions cross as they are."""
_PLAIN = (str, int, float, bool, bytes, type(None))


def dumped(value: Any) -> tuple[bytes, list[memoryview]]:
    """The value's pickle, and the bytes that are not in it.

    Raises:
        TypeError: the value holds an object of a class that only one side has.
    """
    beside: list[memoryview] = []

    def outside(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < LARGE:
            return True
        beside.append(raw)
        return False

    into = io.BytesIO()
    _Pickler(into, protocol=5, buffer_callback=outside).dump(value)
    return into.getvalue(), beside


class RemoteTraceback(Exception):  # noqa: N818  # no error: where one was raised
    """The traceback of a fault in the model's process, as text: the cause of the fault that stands for it here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        reduce = _REDUCE.get(kind)
        if reduce is None:
            reduce = _REDUCE[kind] = _reducer(value, kind)
        return reduce(value)


def _as_ever(_value: Any) -> Any:
    return NotImplemented


def _reducer(value: Any, kind: type[Any]) -> Callable[[Any], Any]:
    if isinstance(value, BaseException):
        return _fault
    if kind is np.ndarray:
        return _array
    if kind.__name__ == "MessageMapContainer":
        return _parameters
    if isinstance(value, type) or kind.__module__.partition(".")[0] in _SHARED:
        return _as_ever
    if is_dataclass(value):
        return _object
    return _member if isinstance(value, enum.Enum) else _refused


_REDUCE: dict[type[Any], Callable[[Any], Any]] = {}
"""How each class crosses, found out once."""


def _array(array: Any) -> Any:
    if array.nbytes < LARGE or array.dtype.hasobject or array.flags.forc:
        return NotImplemented
    return np.ascontiguousarray(array).__reduce_ex__(5)  # else numpy writes it into the pickle


def _object(value: Any) -> Any:
    return dict, ([(field.name, getattr(value, field.name)) for field in fields(value)],)


def _member(value: enum.Enum) -> Any:
    return _itself, (value.value,)


def _itself(value: Any) -> Any:
    return value


def _refused(value: Any) -> Any:
    kind = type(value)
    raise TypeError(f"Type is not JSON serializable: {kind.__name__}")


def _parameters(kept: Any) -> Any:
    """The parameters of a gRPC request, which kserve leaves in the message that they came in."""
    message = messages.ModelInferRequest()
    for name, value in kept.items():
        message.parameters[name].CopyFrom(value)
    return _parameters_of, (message.SerializeToString(),)


def _parameters_of(message: bytes) -> Any:
    return messages.ModelInferRequest.FromString(message).parameters


def _fault(fault: BaseException) -> Any:
    known = next(each for each in type(fault).__mro__ if each.__module__ in _OWN_FAULTS)
    found = faults.problem(fault)
    arguments = fault.args if all(isinstance(each, _PLAIN) for each in fault.args) else (str(fault),)
    kept = {name: value for name, value in vars(fault).items() if isinstance(value, _PLAIN)}
    expected = isinstance(fault, HeadraceError) or found.status < 500  # noqa: PLR2004  # HTTP: the server's own fault
    told = "" if expected else "".join(traceback.format_exception(fault))
    return _fault_of, (known, arguments, kept, found, told)


def _fault_of(
    kind: type[BaseException], arguments: tuple[Any, ...], kept: dict[str, Any], found: Problem, told: str
) -> BaseException:
    fault = kind.__new__(kind)
    fault.args = arguments
    vars(fault).update(kept, problem=found)
    if told:
        fault.__cause__ = RemoteTraceback(told)
    return fault
