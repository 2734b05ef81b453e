"""all-MiniLM-L6-v2 with its real weights: vectors that are the published ones, verdicts, batches of unlike lengths."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from headrace.errors import InvalidInputError, ModelLoadError
from headrace.models import tensors
from headrace.predictors.minilm import MiniLM
from headrace.predictors.sentence_network import EncoderShape, load_encoder
from headrace.transformers.text import TextTransformer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.models.kserve_api import InferRequest

SPAM = [
    "Congratulations! You have won a $1,000,000 lottery prize. Click here to claim your FREE money, limited offer!!!",
    "Lose weight fast with our herbal pills. Order now, 100% money back guarantee. Reply with remove to be removed.",
]
HAM = [
    "Hi Anna, the build of yesterday's branch fails on two tests. Could you have a look before Thursday? Thanks, Ben",
    "Re: kernel panic after upgrade. I had the same problem; going back to 2.4.18 solved it for me.",
]


@pytest.fixture(scope="module")
def model() -> MiniLM:
    """The loaded predictor."""
    made = MiniLM("m")
    assert made.load()
    made.warm_up()
    return made


@pytest.fixture(scope="module")
def request_of() -> Callable[..., InferRequest]:
    """Makes the predictor's request of texts."""
    transformer = TextTransformer("m")
    transformer.load()
    return lambda *texts: transformer.preprocess({"instances": list(texts)})


def outputs(response: Any) -> dict[str, Any]:
    return {tensor.name: tensor.as_numpy() for tensor in response.outputs}


def test_the_vectors_are_the_published_ones(model: MiniLM, request_of: Callable[..., InferRequest]) -> None:
    """The model's own card prints these first values for this sentence."""
    (vector,) = outputs(model.predict(request_of("This is an example sentence")))["embedding"]
    assert vector[:3] == pytest.approx([0.0676569, 0.0634959, 0.0487131], abs=1e-5)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_texts_that_mean_the_same_lie_near(model: MiniLM, request_of: Callable[..., InferRequest]) -> None:
    """Without a word in common; and a text about something else lies far."""
    texts = ("A man is eating food.", "Someone is having a meal", "The stock market crashed today")
    vectors = outputs(model.predict(request_of(*texts)))["embedding"]
    near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert near > 0.6
    assert far < 0.1


def test_verdicts(model: MiniLM, request_of: Callable[..., InferRequest]) -> None:
    """What reads like spam is near 1, what people write each other near 0."""
    spam = outputs(model.predict(request_of(*SPAM, *HAM)))["spam"]
    assert (spam[:2] > 0.9).all(), spam
    assert (spam[2:] < 0.1).all(), spam


def test_unlike_lengths_in_one_run(model: MiniLM, request_of: Callable[..., InferRequest]) -> None:
    """Merged, each text gets what it gets alone: padding is not seen, rows are not mixed."""
    long = "The quick brown fox jumps over the lazy dog. " * 8
    requests = [request_of(text) for text in (HAM[1][:-4], SPAM[0], HAM[0])]
    assert len({model.batch_key(request) for request in requests}) == 1
    assert len({int(request.inputs[0].shape[1]) for request in requests}) == 3
    assert model.batch_key(request_of(long)) != model.batch_key(requests[0])
    requests.append(request_of(long))
    answers = model.split(model.predict(model.collate(requests)), requests)
    for request, answer in zip(requests, answers, strict=True):
        alone = outputs(model.predict(request))
        assert np.allclose(outputs(answer)["embedding"], alone["embedding"], atol=1e-5)
        assert np.allclose(outputs(answer)["spam"], alone["spam"], atol=1e-5)


def test_a_text_of_no_tokens_harms_nobody(model: MiniLM, request_of: Callable[..., InferRequest]) -> None:
    """A mask of zeros attends to nothing, which is 0/0: zeros come back, not NaN."""
    request = request_of(HAM[0])
    arrays = {tensor.name: tensor.as_numpy().copy() for tensor in request.inputs}
    arrays["attention_mask"][:] = 0
    answer = outputs(model.predict(tensors.new_request("m", arrays)))
    assert not answer["embedding"].any()
    assert np.isfinite(answer["spam"]).all()


@pytest.mark.parametrize(
    ("ids", "mask", "told"),
    [
        (np.full((1, 3), 40000), np.ones((1, 3)), "between 0 and 30521"),
        (np.full((1, 3), -1), np.ones((1, 3)), "between 0 and 30521"),
        (np.ones((1, 3)), np.ones((1, 4)), r"input_ids \(1, 3\), but attention_mask \(1, 4\)"),
        (np.ones((1, 513)), np.ones((1, 513)), "1 to 512 tokens, got 513"),
        (np.ones((1, 0)), np.ones((1, 0)), "1 to 512 tokens, got 0"),
    ],
)
def test_tokens_that_the_network_does_not_have(model: MiniLM, ids: Any, mask: Any, told: str) -> None:
    """Refused before the run: an index outside a table ends a CUDA process for all its callers."""
    arrays = {"input_ids": ids.astype(np.int64), "attention_mask": mask.astype(np.int64)}
    with pytest.raises(InvalidInputError, match=told):
        asyncio.run(model.preprocess(tensors.new_request("m", arrays)))


def test_weights_of_something_else(tmp_path: Path) -> None:
    """A file that is none, and one of another network, are named with the fault."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"none")
    with pytest.raises(ModelLoadError, match=r"model\.safetensors is no safetensors file"):
        load_encoder(file, EncoderShape())
    save_file({"embeddings.LayerNorm.weight": torch.ones(2)}, file)
    with pytest.raises(ModelLoadError, match="no weights of a 6-layer BERT encoder"):
        load_encoder(file, EncoderShape())
