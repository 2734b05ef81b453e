"""``import ts`` in a handler: the part of TorchServe that handlers are written against, where it is not installed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from headrace.errors import HeadraceError
from headrace.predictors.torchserve import base_handler, image_classifier
from headrace.predictors.torchserve.classes import classes_of
from headrace.predictors.torchserve.context import Context, Metrics


class PredictionException(HeadraceError):  # noqa: N818  # TorchServe's name
    """Raised by a handler: the request is answered with this status.

    Args:
        message: What is wrong.
        error_code: The HTTP status.
    """

    code = "invalid-input"

    def __init__(self, message: str, error_code: int = 500) -> None:
        super().__init__(message)
        self.error_code = self.http_status = error_code


def load_label_mapping(mapping_file_path: str) -> Any:
    """The names of ``index_to_name.json``; None where there is none."""
    file = Path(mapping_file_path)
    if not file.is_file():
        return None
    mapping = json.loads(file.read_text(encoding="utf-8"))
    return mapping.get("object_type_names", mapping) if isinstance(mapping, dict) else mapping


def map_class_to_label(probs: Any, mapping: Any = None, lbl_classes: Any = None) -> list[dict[str, Any]]:
    """``{label: probability}`` of each row."""
    if not (isinstance(probs, list) and all(isinstance(row, list) for row in probs)):
        raise HeadraceError("map_class_to_label wants a list of lists of probabilities")
    classes = lbl_classes or [list(range(len(row))) for row in probs]
    rows = [zip(names, row, strict=True) for names, row in zip(classes, probs, strict=True)]
    return [{_label(mapping, name): value for name, value in row} for row in rows]


def install() -> None:
    """Make ``ts`` importable, unless TorchServe itself is."""
    if "ts" in sys.modules or importlib.util.find_spec("ts") is not None:
        return
    utilities = {
        "PredictionException": PredictionException,
        "list_classes_from_module": lambda module, parent_class=None: classes_of(module, parent_class),
        "load_label_mapping": load_label_mapping,
        "map_class_to_label": map_class_to_label,
    }
    _add("ts", {})
    _add("ts.context", {"Context": Context})
    _add("ts.metrics", {})
    _add("ts.metrics.metrics_store", {"MetricsStore": Metrics})
    _add("ts.utils", {})
    _add("ts.utils.util", utilities)
    _add("ts.torch_handler", {})
    _add("ts.torch_handler.base_handler", {"BaseHandler": base_handler.BaseHandler})
    _add("ts.torch_handler.vision_handler", {"VisionHandler": image_classifier.VisionHandler})
    _add("ts.torch_handler.image_classifier", {"ImageClassifier": image_classifier.ImageClassifier})


def _add(name: str, contents: dict[str, Any]) -> None:
    module = ModuleType(name, "TorchServe's interface, as far as Headrace has it: docs/torchserve.md.")
    module.__path__ = []
    vars(module).update(contents)
    sys.modules[name] = module
    parent, _, own = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], own, module)


def _label(mapping: Any, name: Any) -> str:
    found = mapping.get(str(name), name) if isinstance(mapping, dict) else name
    return str(found[-1] if isinstance(found, list) else found)
