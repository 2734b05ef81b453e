"""The model of the benchmark: it answers what it was asked, so that all that is measured is the way there and back."""

from __future__ import annotations

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
