"""The text transformer as one writes it for KServe alone: the predictor is asked by KServe's own ``predict``."""

from __future__ import annotations

from typing import Any

from headrace.models.kserve_api import Model
from headrace.transformers.text import TextTransformer


class PlainText(TextTransformer):
    """The same work before and after."""

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """KServe's."""
        return await Model.predict(self, payload, headers, response_headers)

    async def postprocess(self, result: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """A v1 answer: every event asks v1 here."""
        result.v1 = True
        return await super().postprocess(result, headers, response_headers)
