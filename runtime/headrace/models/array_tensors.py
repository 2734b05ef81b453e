"""kserve's tensors, holding numpy arrays instead of Python lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.models import datatypes
from headrace.models.kserve_api import InferInput, InferOutput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


class _ArrayTensor:
    """Beside one of kserve's tensor classes: the array is the data, the list is made when somebody asks for it."""

    _array: NDArray[Any] | None
    _data: Any
    _raw_data: Any
    _shape: list[int]

    def __init__(self, name: str, array: NDArray[Any], parameters: Mapping[str, Any] | None = None) -> None:
        kept = {key: value for key, value in (parameters or {}).items() if key != "binary_data_size"}
        # mypy does not see the kserve class that follows in the order of bases.
        super().__init__(name, list(array.shape), datatypes.datatype_of(array), parameters=kept or None)  # type: ignore[call-arg]
        self._array = array

    @property
    def data(self) -> Any:
        """The values as kserve gives them: a flat list."""
        if self._data is None and self._raw_data is None and self._array is not None:
            self._data = _plain_list(self._array)
        return self._data

    @data.setter
    def data(self, data: Any) -> None:
        self._array = None
        self._data = data

    def as_numpy(self) -> NDArray[Any]:
        """The tensor itself: no copy."""
        if self._array is None:
            array: NDArray[Any] = super().as_numpy()  # type: ignore[misc]  # kserve's, next in the order of bases
            return array
        return self._array.reshape(self._shape)

    def set_data_from_numpy(self, tensor: NDArray[Any], binary_data: bool = True) -> None:  # noqa: FBT001, FBT002  # kserve's signature
        """Replace the tensor, as kserve does."""
        self._array = None
        super().set_data_from_numpy(tensor, binary_data)  # type: ignore[misc]  # kserve's, next in the order of bases


class TensorInput(_ArrayTensor, InferInput):
    """An input tensor that is a numpy array."""


class TensorOutput(_ArrayTensor, InferOutput):
    """An output tensor that is a numpy array."""


def _plain_list(array: NDArray[Any]) -> list[Any]:
    # As kserve's own decoding of raw BYTES: text where it is UTF-8; what is not stays bytes instead of failing.
    return [_text(item) if isinstance(item, bytes) else item for item in array.ravel().tolist()]


def _text(item: bytes) -> str | bytes:
    try:
        return item.decode()
    except UnicodeDecodeError:
        return item
