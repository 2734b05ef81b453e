"""Models of scikit-learn."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import InvalidInputError, ModelLoadError
from headrace.models import datatypes
from headrace.models.array_tensors import TensorInput
from headrace.predictors.cpu import cpu_limit
from headrace.predictors.model_files import model_file
from headrace.predictors.tensor_base import TensorPredictor, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from headrace.models.kserve_api import InferRequest

TRUST = "HEADRACE_TRUST"
"""Environment variable: types of a skops file that may be made, by comma; ``pickle`` lets pickled files run code."""
PICKLE = "pickle"
_PICKLED = (".pkl", ".pickle", ".joblib")
_INSTALL = "python -m pip install 'headrace[sklearn]'"


class SklearnPredictor(TensorPredictor):
    """An estimator or pipeline of scikit-learn, out of a file of ``skops.io.dump``.

    Input ``features``: FP64 [n, features]; other numbers are converted, and v1 instances may be objects by feature name
    where the model was fitted with names. Outputs: of a classifier ``label`` (INT64 or BYTES [n]) and, where it knows,
    ``probability`` FP64 [n, classes]; of what else predicts, ``output`` FP64 or INT64; of what only transforms,
    ``transformed``.

    A skops file is data: types that are not scikit-learn's or numpy's plain ones are refused by name, unless they are
    trusted, by the class attribute ``trusted`` or the variable ``HEADRACE_TRUST``. A pickle or joblib file is a
    program, and is only run where ``pickle`` is among the trusted.

    Args:
        name: The model's name in paths and results.
        model: The file (``.skops``), or a folder with one.
    """

    trusted: tuple[str, ...] = ()
    """Types of a skops file that are made beside the plain ones; ``pickle`` allows pickled files."""

    def __init__(self, name: str, *, model: str = "") -> None:
        super().__init__(name, model=model)
        self.estimator: Any = None

    def load(self) -> bool:
        """Read the file.

        Raises:
            ModelLoadError: it is missing, is of a kind or holds types that are not trusted, or no model.
        """
        path = model_file(self.model, (".skops", *_PICKLED), "file of skops")
        trusted = {*self.trusted, *filter(None, os.environ.get(TRUST, "").replace(" ", "").split(","))}
        _limit_threads()
        self.estimator = _unpickled(path, trusted) if path.suffix in _PICKLED else _read(path, trusted)
        if not any(hasattr(self.estimator, method) for method in ("predict", "transform")):
            raise ModelLoadError(
                f"{path} holds a {type(self.estimator).__name__}, which neither predicts nor transforms"
            )
        count = getattr(self.estimator, "n_features_in_", -1)
        self.inputs = (TensorSpec("features", "FP64", (-1, count)),)
        self.outputs = self._stated_outputs()
        self.ready = True
        return True

    def stop(self) -> None:
        """Free the model."""
        self.ready = False
        self.estimator = None

    def run(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The answers to all rows.

        Raises:
            InvalidInputError: the model refuses the values: ones that are not finite, for example.
        """
        table = self._table(arrays["features"])
        try:
            if not hasattr(self.estimator, "predict"):
                return {"transformed": _dense(self.estimator.transform(table))}
            given = np.asarray(self.estimator.predict(table))
            if not self._classifies:
                return {"output": given}
            if not hasattr(self.estimator, "predict_proba"):
                return {"label": _labels(given)}
            return {"label": _labels(given), "probability": self.estimator.predict_proba(table)}
        except ValueError as fault:
            raise InvalidInputError(f"Model '{self.name}' refuses 'features': {fault}") from fault

    @property
    def _classifies(self) -> bool:
        return hasattr(self.estimator, "classes_")

    def _stated_outputs(self) -> tuple[TensorSpec, ...]:
        if not self._classifies:
            return ()
        classes = np.asarray(self.estimator.classes_)
        label = TensorSpec("label", datatypes.datatype_of(_labels(classes)), (-1,))
        if not hasattr(self.estimator, "predict_proba"):
            return (label,)
        return (label, TensorSpec("probability", "FP64", (-1, len(classes))))

    def _check(self, request: InferRequest, spec: TensorSpec) -> None:
        tensor = request.get_input_by_name(spec.name)
        if tensor is not None and tensor.datatype in datatypes.NUMPY and tensor.datatype != spec.datatype:
            at = request.inputs.index(tensor)
            request.inputs[at] = TensorInput(spec.name, tensor.as_numpy().astype(np.float64))
        super()._check(request, spec)

    def _table(self, features: NDArray[Any]) -> Any:
        names = getattr(self.estimator, "feature_names_in_", None)
        if names is None:
            return features
        import pandas as pd  # noqa: PLC0415  # kserve brings it; only such models need it

        return pd.DataFrame(features, columns=names)

    def _from_v1(self, payload: Any) -> InferRequest:
        rows = payload.get("instances") if isinstance(payload, dict) else None
        names = getattr(self.estimator, "feature_names_in_", None)
        if names is None or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            return super()._from_v1(payload)
        for at, row in enumerate(rows):
            if missing := [name for name in names if name not in row]:
                raise InvalidInputError(f"Model '{self.name}': instance {at} has no feature '{missing[0]}'")
        return super()._from_v1({"instances": [[row[name] for name in names] for row in rows]})


def _read(path: Path, trusted: set[str]) -> Any:
    try:
        from skops import io  # noqa: PLC0415  # an optional package
    except ImportError as fault:
        raise ModelLoadError("SklearnPredictor needs skops, which is not installed", hint=_INSTALL) from fault
    try:
        unknown = sorted(set(io.get_untrusted_types(file=path)) - trusted)
        if not unknown:
            return io.load(path, trusted=sorted(trusted - {PICKLE}))
    except Exception as fault:
        raise ModelLoadError(f"{path} is no file of skops.io.dump: {type(fault).__name__}: {fault}") from fault
    raise ModelLoadError(
        f"{path} holds types that are not trusted: {', '.join(unknown)}",
        hint=f"if you know where it comes from, set {TRUST}={','.join(unknown)}",
    )


def _unpickled(path: Path, trusted: set[str]) -> Any:
    if PICKLE not in trusted:
        raise ModelLoadError(
            f"{path} is pickled: reading it runs whatever is in it",
            hint=f"write it with skops.io.dump; if you know where it comes from, {TRUST}={PICKLE} has it read",
        )
    try:
        import joblib  # noqa: PLC0415  # scikit-learn brings it
    except ImportError as fault:
        raise ModelLoadError("SklearnPredictor needs scikit-learn, which is not installed", hint=_INSTALL) from fault
    try:
        return joblib.load(path)
    except Exception as fault:
        raise ModelLoadError(f"{path} cannot be unpickled: {type(fault).__name__}: {fault}") from fault


def _limit_threads() -> None:
    try:
        from threadpoolctl import threadpool_limits  # noqa: PLC0415  # scikit-learn brings it
    except ImportError:
        return
    threadpool_limits(cpu_limit())


def _labels(labels: NDArray[Any]) -> NDArray[Any]:
    if labels.dtype.kind in "iu":
        return labels.astype(np.int64)
    return labels if labels.dtype.kind in "bf" else labels.astype(np.object_)


def _dense(given: Any) -> NDArray[Any]:
    array: NDArray[Any] = given.toarray() if hasattr(given, "toarray") else np.asarray(given)
    return array
