"""Serves a TorchServe archive."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import torch

from headrace.errors import HeadraceError, ModelLoadError
from headrace.models.hooks import never_waits
from headrace.models.kserve_api import Model
from headrace.models.kserve_faults import StatusUnderKServe
from headrace.models.storage import model_path
from headrace.predictors.accelerator import accelerator_of
from headrace.predictors.cpu import cpu_limit
from headrace.predictors.torchserve.archive import read_config, read_manifest, unpack
from headrace.predictors.torchserve.context import Context
from headrace.predictors.torchserve.handlers import entry_point
from headrace.predictors.torchserve.rows import Rows, answered, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from pathlib import Path


class TorchServePredictor(StatusUnderKServe, Model):
    """Runs the handler of a ``.mar`` as TorchServe does: with a list of entries, which it answers with a list.

    A request is: one body of any kind (an event's data, ``POST /predictions/NAME``, a form), which is the entry
    ``{"body": ...}`` (a form's fields by name) and is answered with the handler's answer to it; v1 ``instances``, an
    entry ``{"data": ...}`` each; a v2 tensor, an entry a row. The server merges requests up to ``batching.maxSize``.

    Args:
        name: The model's name in paths and results.
        model: The ``.mar``, or the folder that it was unpacked to. It is a program: trust its source.
    """

    def __init__(self, name: str, *, model: str = "") -> None:
        super().__init__(name)
        self.model = model
        self._handle: Callable[[Any, Context], Any] | None = None
        self._context: Context | None = None
        self._unpacked: tempfile.TemporaryDirectory[str] | None = None

    def load(self) -> bool:
        """Unpack the archive where it is one, and initialize its handler.

        Raises:
            ModelLoadError: it is no archive, wants what is not here, or its handler fails.
        """
        torch.set_num_threads(cpu_limit())
        try:
            self._begin(self._folder())
        except BaseException:
            self.stop()
            raise
        self.ready = True
        return True

    def stop(self) -> None:
        """Let go of the handler, and of what was unpacked."""
        self.ready = False
        self._handle = None
        if self._unpacked is not None:
            self._unpacked.cleanup()
            self._unpacked = None

    def batch_key(self, request: Rows) -> Hashable | None:
        """All requests go together: what they hold is the handler's business."""
        del request
        return "all"

    def batch_rows(self, request: Rows) -> int:
        """How many entries it has."""
        return len(request.items)

    def collate(self, requests: Sequence[Rows]) -> Rows:
        """All their entries, in order."""
        if len(requests) == 1:
            return requests[0]
        items = [item for request in requests for item in request.items]
        return Rows(items, [headers for request in requests for headers in request.headers], "v1")

    def split(self, response: Rows, requests: Sequence[Rows]) -> list[Rows]:
        """The answers of each."""
        at = 0
        for request in requests:
            request.answers = response.answers[at : at + len(request.items)]
            at += len(request.items)
        return list(requests)

    @never_waits
    async def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> Rows:
        """The entries.

        Raises:
            InvalidInputError: a request without any.
        """
        return rows_of(payload, headers, self.name)

    def predict(self, payload: Rows, headers: dict[str, str] | None = None) -> Rows:
        """Let the handler answer the entries.

        Raises:
            HeadraceError: it answered with something else than a list of as many.
        """
        del headers
        assert self._handle is not None
        assert self._context is not None
        self._context.serve(payload.headers)
        given = self._handle(payload.items, self._context)
        if not isinstance(given, (list, tuple)) or len(given) != len(payload.items):
            what = f"a list of {len(given)}" if isinstance(given, (list, tuple)) else f"a {type(given).__name__}"
            raise HeadraceError(
                f"The handler of model '{self.name}' answered {len(payload.items)} entries with {what}",
                hint="it must return a list with the answer to each",
            )
        payload.answers = list(given)
        return payload

    @never_waits
    async def postprocess(
        self, result: Rows, headers: dict[str, str] | None = None, response_headers: Any = None
    ) -> Any:
        """The answers as the request asked for them."""
        del headers, response_headers
        return answered(result, self.name)

    def _begin(self, folder: Path) -> None:
        manifest = read_manifest(folder)
        device = accelerator_of().device
        gpu = (device.index or 0) if device.type == "cuda" else None
        config = read_config(folder, manifest)
        self._context = Context(self.name, str(folder), manifest.document, config, gpu)
        self._handle = entry_point(manifest, folder, self._context)

    def _folder(self) -> Path:
        if not self.model:
            raise ModelLoadError("No TorchServe archive is named", hint="set `model:` in headrace.yaml, or --model URI")
        path = model_path(self.model)
        if path.is_dir():
            return path.absolute()
        self._unpacked = tempfile.TemporaryDirectory(prefix="headrace-mar-")
        folder = type(path)(self._unpacked.name)
        unpack(path, folder)
        return folder
