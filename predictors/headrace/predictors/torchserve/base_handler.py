"""``ts.torch_handler.base_handler``: what most handlers derive from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import torch

from headrace.errors import ModelLoadError
from headrace.predictors.torchserve.classes import classes_of, module_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.predictors.torchserve.context import Context

_NAMES = "index_to_name.json"


class BaseHandler:
    """Loads the archive's model, and runs ``preprocess``, ``inference`` and ``postprocess`` one after another.

    A handler overrides any of them, or ``initialize`` and ``handle``. The model is, by the archive: the class of
    ``--model-file`` with the serialized file as its state dict, which is read as data; a ``.pt2`` program of
    torch.export; else TorchScript.
    """

    def __init__(self) -> None:
        self.model: Any = None
        self.mapping: Mapping[str, Any] | None = None
        self.device: torch.device = torch.device("cpu")
        self.map_location = "cpu"
        self.initialized = False
        self.context: Context | None = None
        self.manifest: Mapping[str, Any] = {}
        self.model_yaml_config: Mapping[str, Any] = {}
        self.target = 0
        self.explain = False

    def initialize(self, context: Context) -> None:
        """Load the model, and ``index_to_name.json`` where the archive has it.

        Raises:
            ModelLoadError: a file is missing, or is not what it should be.
        """
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        self.map_location = "cpu" if gpu is None else "cuda"
        self.device = torch.device("cpu" if gpu is None else f"cuda:{gpu}")
        self.context, self.manifest = context, context.manifest
        self.model_yaml_config = context.model_yaml_config
        folder, model = Path(str(properties["model_dir"])), self.manifest["model"]
        weights = folder / model["serializedFile"] if model.get("serializedFile") else None
        if model.get("modelFile"):
            self.model = self._load_pickled_model(str(folder), model["modelFile"], str(weights) if weights else "")
        elif weights is not None:
            self.model = self._load_whole(weights)
        if isinstance(self.model, torch.nn.Module):
            self.model.to(self.device)
            if weights is None or weights.suffix != ".pt2":
                self.model.eval()
        names = folder / _NAMES
        self.mapping = orjson.loads(names.read_bytes()) if names.is_file() else None
        self.initialized = True

    def preprocess(self, data: Any) -> Any:
        """The tensor of the entries."""
        return torch.as_tensor(data, device=self.device)

    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """What the model makes of it."""
        with torch.inference_mode():
            return self.model(data.to(self.device), *args, **kwargs)

    def postprocess(self, data: Any) -> list[Any]:
        """A list with the answer to each entry."""
        answers: list[Any] = data.tolist()
        return answers

    def handle(self, data: Any, context: Context) -> Any:
        """The answers to the entries of ``data``, in order."""
        self.context = context
        return self.postprocess(self.inference(self.preprocess(data)))

    def _load_torchscript_model(self, model_pt_path: str) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch has put TorchScript on its way out
            return torch.jit.load(model_pt_path, map_location=self.device)  # type: ignore[no-untyped-call]  # torch's

    def _load_pickled_model(self, model_dir: str, model_file: str, model_pt_path: str) -> torch.nn.Module:
        if not (Path(model_dir) / model_file).is_file():
            raise ModelLoadError(f"{model_dir}: the model's file {model_file} is not in the archive")
        found = classes_of(module_of(Path(model_dir) / model_file), torch.nn.Module)
        if len(found) != 1:
            names = ", ".join(each.__name__ for each in found) or "none"
            raise ModelLoadError(f"{model_file} must define one torch.nn.Module, it has {names}")
        network: torch.nn.Module = found[0]()
        if model_pt_path:
            network.load_state_dict(torch.load(model_pt_path, map_location=self.map_location, weights_only=True))
        return network

    def _load_whole(self, weights: Path) -> Any:
        if not weights.is_file():
            raise ModelLoadError(f"The archive's model {weights.name} is not in it")
        try:
            if weights.suffix == ".pt2":
                return torch.export.load(weights).module()
            return self._load_torchscript_model(str(weights))
        except ModelLoadError:
            raise
        except Exception as fault:
            cause = str(fault).strip().partition("\n")[0]
            raise ModelLoadError(
                f"{weights.name} is no model that can be loaded without a model file: {cause}"
            ) from fault
