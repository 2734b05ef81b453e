"""Sounds in, stretches of speech out; the predictor's probabilities are given."""

from __future__ import annotations

import asyncio
import base64
import io
import wave
from typing import Any

import numpy as np
import orjson
import pytest

from headrace.errors import HeadraceError, InvalidInputError
from headrace.models import tensors
from headrace.transformers.audio import AudioTransformer
from headrace.transformers.sound import samples_of

TONE = np.round(np.sin(np.arange(800) / 5) * 20_000).astype("<i2")


def wav(frames: bytes, *, width: int = 2, channels: int = 1, rate: int = 16_000) -> bytes:
    """A WAV file."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(frames)
    return target.getvalue()


@pytest.fixture
def transformer() -> AudioTransformer:
    """A loaded transformer."""
    made = AudioTransformer("m")
    assert made.load()
    return made


def answer(speech: list[float], start: int = 0, **about: Any) -> Any:
    """What the predictor answers."""
    arrays = {"speech": np.array([speech], np.float32), "start": np.array([start]), "windows": np.array([len(speech)])}
    return tensors.new_response("m", arrays, **about)


def test_every_width_and_channel_of_a_wav() -> None:
    """8, 16, 24 and 32 bits give the same sound to within their steps; stereo becomes its mean."""
    wanted = TONE / 32768
    wide = TONE.astype("<i4") << 16
    forms = {
        1: ((TONE >> 8) + 128).astype(np.uint8).tobytes(),
        2: TONE.tobytes(),
        3: wide.view(np.uint8).reshape(-1, 4)[:, 1:].tobytes(),
        4: wide.tobytes(),
    }
    for width, frames in forms.items():
        samples = samples_of(wav(frames, width=width), 16_000)
        assert samples.dtype == np.float32
        assert np.allclose(samples, wanted, atol=1 / 100 if width == 1 else 1e-6), width
    stereo = np.stack([TONE, -TONE], axis=1).tobytes()
    assert not samples_of(wav(stereo, channels=2), 16_000).any()


def test_bare_samples_have_the_high_byte_first() -> None:
    """audio/L16 as RFC 2586 has it; the rate stands in the media type."""
    samples = samples_of(TONE.astype(">i2").tobytes(), 16_000, "audio/L16; rate=16000; channels=1")
    assert np.allclose(samples, TONE / 32768)


@pytest.mark.parametrize(
    ("data", "kind", "told"),
    [
        (b"", "audio/wav", "empty"),
        (b"ID3...", "audio/mpeg", "no WAV file and its type 'audio/mpeg'.*sox IN -r 16000"),
        (b"RIFF", "audio/wav", "cannot be read.*sox"),
        (wav(TONE.tobytes())[:30], "audio/wav", "cannot be read"),
        (wav(TONE.tobytes(), rate=8000), "audio/wav", "8000 samples a second, not 16000; sox IN"),
        (b"\0\0", "audio/L16;rate=44100", "44100 samples a second"),
        (b"\0\0", "audio/L16;rate=x", "audio/L16;rate=NUMBER"),
        (b"\0", "audio/l16", "no whole samples"),
    ],
)
def test_what_is_no_sound(data: bytes, kind: str, told: str) -> None:
    """The refusal says what came, and what converts it."""
    with pytest.raises(InvalidInputError, match=told):
        samples_of(data, 16_000, kind)


def test_a_piece_of_a_call(transformer: AudioTransformer) -> None:
    """An event's key names the call, its source and id the piece; a v2 caller says both himself."""
    event = {"ce-id": "7", "ce-source": "/phone", "ce-partitionkey": "call-1", "content-type": "audio/wav"}
    request = transformer.preprocess(wav(TONE.tobytes()), event)
    assert [(t.name, t.datatype, t.shape) for t in request.inputs] == [
        ("samples", "FP32", [1, 800]),
        ("length", "INT64", [1]),
    ]
    assert (request.id, request.parameters["partitionkey"]) == ("/phone 7", "call-1")
    text = base64.b64encode(wav(TONE.tobytes())).decode()
    v2 = {
        "id": "q",
        "inputs": [{"name": "file", "shape": [1], "datatype": "BYTES", "data": [text]}],
        "parameters": {"partitionkey": "call-2"},
    }
    request = transformer.preprocess(tensors.load_request(orjson.dumps(v2), "m", None), {})
    assert (request.id, request.parameters["partitionkey"]) == ("q", "call-2")
    request = transformer.preprocess({"instances": [{"b64": text}]}, {})
    assert "partitionkey" not in (request.parameters or {})


def test_stretches_of_speech(transformer: AudioTransformer) -> None:
    """They begin at a half, end below 0.35, and are told in seconds since the call began."""
    result = answer([0.1, 0.6, 0.4, 0.9, 0.2, 0.4, 0.7], start=100, v1=True)
    (prediction,) = asyncio.run(transformer.postprocess(result))["predictions"]
    assert prediction == {
        "label": "speech",
        "confidence": pytest.approx(0.9),
        "start": 3.2,
        "end": 3.424,
        "speech": [{"start": 3.232, "end": 3.328}, {"start": 3.392, "end": 3.424}],
    }


@pytest.mark.parametrize(
    ("speech", "label", "confidence"), [([0.1, 0.3], "silence", 0.7), ([], "pending", 0.0), ([0.5], "speech", 0.5)]
)
def test_labels(transformer: AudioTransformer, speech: list[float], label: str, confidence: float) -> None:
    """Silence is as sure as its loudest window; what is shorter than a window has no verdict yet."""
    (prediction,) = asyncio.run(transformer.postprocess(answer(speech, v1=True)))["predictions"]
    assert (prediction["label"], prediction["confidence"]) == (label, pytest.approx(confidence))


def test_v2_answers_are_tensors(transformer: AudioTransformer) -> None:
    """Label, confidence, every window's probability and where the piece begins."""
    response = asyncio.run(transformer.postprocess(answer([0.1, 0.9], 3, response_id="q")))
    assert [(t.name, t.datatype, t.shape) for t in response.outputs] == [
        ("label", "BYTES", [1]),
        ("confidence", "FP32", [1]),
        ("speech", "FP32", [1, 2]),
        ("start", "INT64", [1]),
    ]
    assert response.id == "q"


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"instances": []},
        {"instances": [{"b64": ""}, {"b64": ""}]},
        {"instances": [{"b64": "%"}]},
        {"instances": ["x"]},
        tensors.new_request("m", {"x": np.zeros((1, 2), np.float32)}),
        tensors.new_request("m", {"x": np.array([b"a", b"b"], np.object_)}),
    ],
)
def test_what_holds_no_piece(transformer: AudioTransformer, payload: Any) -> None:
    """One piece a request: its neighbours would have no key of their own."""
    with pytest.raises(InvalidInputError, match=r"Expected|base64"):
        transformer.preprocess(payload, {})


def test_a_predictor_of_something_else(transformer: AudioTransformer) -> None:
    """An error of the set-up, not of the input."""
    with pytest.raises(HeadraceError, match=r"'logits': \[1, 10\]"):
        asyncio.run(transformer.postprocess(tensors.new_response("m", {"logits": np.zeros((1, 10), np.float32)})))
