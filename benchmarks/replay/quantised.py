"""MiniLM with its linear layers in int8, to be compared with the network as it is."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from headrace.predictors.minilm import MiniLM

if TYPE_CHECKING:
    import torch


class MiniLM8(MiniLM):
    """Weights in int8, activations quantised as they come."""

    def network(self) -> torch.nn.Module:
        """The network, quantised when it is loaded."""
        import torch  # noqa: PLC0415  # with the model

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch moves it to a package of its own one day
            found: torch.nn.Module = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]  # torch's
                super().network().eval(), {torch.nn.Linear}, dtype=torch.qint8
            )
        return found
