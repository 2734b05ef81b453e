"""What a handler is told of its model and its requests: TorchServe's ``Context``, as far as handlers use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.errors import HeadraceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Metrics:
    """Takes every metric of a handler's and keeps none: ``/metrics`` has the server's own."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("add_"):
            return lambda *_args, **_options: None
        raise AttributeError(name)


class Context:
    """One model's context; the requests are those of the run that is going on.

    Args:
        model_name: The model's name.
        model_dir: The unpacked archive.
        manifest: ``MANIFEST.json``.
        model_yaml_config: The archive's own configuration.
        gpu_id: The number of the device; None on a CPU.
    """

    def __init__(
        self,
        model_name: str,
        model_dir: str,
        manifest: Mapping[str, Any],
        model_yaml_config: Mapping[str, Any],
        gpu_id: int | None,
    ) -> None:
        self.model_name = model_name
        self.manifest = manifest
        self.model_yaml_config = model_yaml_config
        self.system_properties = {
            "model_dir": model_dir,
            "gpu_id": gpu_id,
            "batch_size": int(model_yaml_config.get("batchSize", 1)),
            "server_name": "headrace",
            "server_version": "0",
            "limit_max_image_pixels": True,
        }
        self.metrics = Metrics()
        self.explain = False
        self.request_ids: dict[int, str] = {}
        self._headers: Sequence[Mapping[str, str]] = ()

    def serve(self, headers: Sequence[Mapping[str, str]]) -> None:
        """Begin a run of these requests, by their headers."""
        self._headers = headers
        self.request_ids = {at: each.get("x-request-id", str(at)) for at, each in enumerate(headers)}

    def get_request_id(self, idx: int = 0) -> str | None:
        """The id of a request of the batch."""
        return self.request_ids.get(idx)

    def get_request_header(self, idx: int, key: str) -> str | None:
        """A header of a request of the batch; case does not matter."""
        return self.get_all_request_header(idx).get(key.lower())

    def get_all_request_header(self, idx: int) -> dict[str, str]:
        """The headers of a request of the batch, by lower-case name."""
        return dict(self._headers[idx]) if 0 <= idx < len(self._headers) else {}

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Not kept: the type follows from what the handler returns."""

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Not kept."""

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        """As :meth:`set_response_status`, for all.

        Raises:
            HeadraceError: an error status: raise ``PredictionException`` for one instead.
        """
        for idx in range(len(self._headers)):
            self.set_response_status(code, phrase, idx)

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Success is said already.

        Raises:
            HeadraceError: an error status: raise ``PredictionException`` for one instead.
        """
        if not 200 <= code < 300:  # noqa: PLR2004  # HTTP's successes
            raise HeadraceError(
                f"Model '{self.model_name}': its handler sets the status {code} {phrase} of request {idx}",
                hint="raise ts.utils.util.PredictionException(message, error_code) instead",
            )
