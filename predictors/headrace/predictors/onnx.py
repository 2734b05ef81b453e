"""Models in ONNX files, run by ONNX Runtime."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import ConfigurationError, InvalidInputError, ModelLoadError
from headrace.models import datatypes
from headrace.predictors.cpu import cpu_limit
from headrace.predictors.model_files import model_file
from headrace.predictors.tensor_base import TensorPredictor, TensorSpec, zeros

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from headrace.models.kserve_api import InferRequest

DEVICE = "HEADRACE_DEVICE"
_PROVIDERS = {"cpu": ["CPUExecutionProvider"], "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"]}
_TYPES = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(float16)": "FP16",
    "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES",
    **{f"tensor({sign}int{bits})": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_QUIET = 4
"""Of ONNX Runtime's severities: fatal. It would print beside what it raises."""


class OnnxPredictor(TensorPredictor):
    """An ONNX file, with the inputs and outputs that it says it has.

    Names, types and shapes are the file's; its symbolic lengths are -1, and must agree where it uses one twice. Where
    every input and output has such a length first, the server merges requests. It runs on as many threads as the
    container may use CPUs; on CUDA (``HEADRACE_DEVICE``, by default where ONNX Runtime has it), which has not been
    tried yet.

    Args:
        name: The model's name in paths and results.
        model: The file, or a folder with one.
    """

    def __init__(self, name: str, *, model: str = "") -> None:
        super().__init__(name, model=model)
        self._session: Any = None
        self._symbols: dict[str, Sequence[Any]] = {}

    def load(self) -> bool:
        """Open the file.

        Raises:
            ModelLoadError: ONNX Runtime is not installed, the file is missing or none of ONNX, or a tensor of it has
                no type of the Open Inference Protocol.
        """
        runtime = _runtime()
        path = model_file(self.model, (".onnx",), "ONNX file")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = cpu_limit()
        options.log_severity_level = _QUIET
        providers = _providers(runtime)
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=providers)
        except Exception as fault:
            raise ModelLoadError(f"{path} is no model that ONNX Runtime can run: {fault}") from fault
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.inputs = tuple(_spec(each, path) for each in inputs)
        self.outputs = tuple(_spec(each, path) for each in outputs)
        self._symbols = {each.name: each.shape for each in inputs}
        self.ready = True
        return True

    def warm_up(self) -> None:
        """Run once on zeros, where every length that the file leaves open may be 1."""
        try:
            self.run({spec.name: zeros(spec, 1) for spec in self.inputs})
        except Exception:  # noqa: BLE001  # a file may want other lengths than it says; requests will tell
            return

    def stop(self) -> None:
        """Close the file."""
        self.ready = False
        self._session = None

    def run(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The file's outputs.

        Raises:
            InvalidInputError: ONNX Runtime refuses the inputs.
        """
        given = {spec.name: _as_given(arrays[spec.name], spec) for spec in self.inputs}
        names = [spec.name for spec in self.outputs]
        try:
            answers = self._session.run(names, given)
        except Exception as fault:
            if type(fault).__name__ != "InvalidArgument":
                raise
            raise InvalidInputError(f"Model '{self.name}' refuses its inputs: {fault}") from fault
        return dict(zip(names, answers, strict=True))

    def _check(self, request: InferRequest, spec: TensorSpec) -> None:
        super()._check(request, spec)
        if spec is not self.inputs[-1]:
            return
        lengths: dict[str, tuple[int, str]] = {}
        for name, dimensions in self._symbols.items():
            for symbol, length in zip(dimensions, request.get_input_by_name(name).shape, strict=True):
                if not isinstance(symbol, str):
                    continue
                known, where = lengths.setdefault(symbol, (length, name))
                if known != length:
                    raise InvalidInputError(
                        f"Model '{self.name}': length '{symbol}' is {known} in input '{where}' and {length} in '{name}'"
                    )


def _runtime() -> Any:
    try:
        import onnxruntime  # noqa: PLC0415  # an optional package
    except ImportError as fault:
        raise ModelLoadError(
            "OnnxPredictor needs ONNX Runtime, which is not installed", hint="python -m pip install 'headrace[onnx]'"
        ) from fault
    return onnxruntime


def _providers(runtime: Any) -> list[str]:
    there = runtime.get_available_providers()
    named = os.environ.get(DEVICE, "")
    kind = named.partition(":")[0] or ("cuda" if "CUDAExecutionProvider" in there else "cpu")
    if kind not in _PROVIDERS or _PROVIDERS[kind][0] not in there:
        raise ConfigurationError(
            f"{DEVICE}={named!r}: ONNX Runtime has {', '.join(there)} here", hint="cpu; cuda needs onnxruntime-gpu"
        )
    return _PROVIDERS[kind]


def _spec(tensor: Any, path: object) -> TensorSpec:
    datatype = _TYPES.get(tensor.type)
    if datatype is None:
        raise ModelLoadError(
            f"{path}: '{tensor.name}' is {tensor.type}, which no tensor of the Open Inference Protocol holds",
            hint="scikit-learn's converter makes tensors with the option zipmap=False" if "map" in tensor.type else "",
        )
    return TensorSpec(tensor.name, datatype, tuple(each if isinstance(each, int) else -1 for each in tensor.shape))


def _as_given(array: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    if spec.datatype != datatypes.BYTES:
        return array
    texts = [item.decode() if isinstance(item, bytes) else str(item) for item in array.ravel()]
    return np.array(texts, dtype=np.object_).reshape(array.shape)
