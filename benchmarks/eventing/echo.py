"""The models of the benchmark: they answer what they were asked, so that what is measured is the way there and back."""

from __future__ import annotations

import asyncio
from typing import Any

import kserve


class Echo(kserve.Model):
    """Answers its instances."""

    def load(self) -> bool:
        """Nothing to load."""
        self.ready = True
        return True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:  # noqa: ARG002  # KServe's hook
        """The instances, as predictions."""
        return {"predictions": payload["instances"]}


class Slow(Echo):
    """Takes its time, and nothing else, for every answer."""

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:  # noqa: ARG002  # KServe's hook
        """The instances, after a while."""
        await asyncio.sleep(0.2)
        return {"predictions": payload["instances"]}


class Relay(kserve.Model):
    """A transformer: hands the payload on to the predictor, by KServe's own ``predict``, and its answer back."""

    def load(self) -> bool:
        """Nothing to load."""
        self.ready = True
        return True

    def preprocess(self, payload: Any, headers: Any = None) -> Any:  # noqa: ARG002  # KServe's hook
        """The payload as it is."""
        return payload

    def postprocess(self, result: Any, headers: Any = None, response_headers: Any = None) -> Any:  # noqa: ARG002  # KServe's hook
        """The answer as it is."""
        return result
