"""Says how warm a picture's colours are."""

import torch

from headrace.predictors.torch_base import TensorSpec, TorchPredictor


class RedMinusBlue(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        red, _, blue = image.mean(dim=(2, 3)).unbind(dim=1)
        return (red - blue) / 2


class Warmth(TorchPredictor):
    inputs = (TensorSpec("image", "FP32", (-1, 3, 224, 224)),)
    outputs = (TensorSpec("warmth", "FP32", (-1,)),)

    def network(self) -> torch.nn.Module:
        return RedMinusBlue()
