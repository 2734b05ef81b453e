"""Silero VAD with its real weights: a spoken sentence between silences, whole and in pieces, alone and among others."""

from __future__ import annotations

import asyncio
import warnings
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headrace.errors import InvalidInputError, ModelLoadError
from headrace.models import tensors
from headrace.models.storage import model_path
from headrace.predictors.silero import WEIGHTS, Listening, SileroVad
from headrace.predictors.voice_network import WINDOW, load_voice

CALL = Path(__file__).parents[2] / "examples/audio/call.wav"


@pytest.fixture(scope="module")
def model() -> SileroVad:
    """The loaded predictor."""
    made = SileroVad("m")
    assert made.load()
    made.warm_up()
    return made


@pytest.fixture(scope="module")
def call() -> Any:
    """A second of silence, a sentence of 1.7 s, a second of silence; synthetic speech."""
    with wave.open(str(CALL)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def piece(samples: Any, own: str | None = None) -> Any:
    """A request with one piece."""
    arrays = {"samples": samples[None], "length": np.array([len(samples)], np.int64)}
    return tensors.new_request("m", arrays, request_id=own)


def outputs(response: Any) -> dict[str, Any]:
    return {tensor.name: tensor.as_numpy() for tensor in response.outputs}


def heard(model: SileroVad, samples: Any, state: Any = None, own: str | None = None) -> tuple[dict[str, Any], Any]:
    """One piece of a call: the answer, and the call's state."""
    answer, (state,) = model.predict_keyed(piece(samples, own), {}, [state])
    return outputs(answer), state


def test_a_sentence_between_silences(model: SileroVad, call: Any) -> None:
    """Silence is near 0, the sentence near 1, noise is no speech."""
    speech = heard(model, call)[0]["speech"][0]
    assert len(speech) == len(call) // WINDOW
    assert speech[:28].max() < 0.2
    assert speech[-20:].max() < 0.2
    assert speech[34:81].min() > 0.5
    noise = np.random.default_rng(0).normal(0, 0.05, 32_000).astype(np.float32)
    assert heard(model, noise)[0]["speech"].max() < 0.2


def test_the_numbers_are_the_published_models(model: SileroVad, call: Any) -> None:
    """Window by window as the TorchScript that keeps its state in itself: the weights beside it are others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = torch.jit.load(str(model_path(WEIGHTS)))  # type: ignore[no-untyped-call]
        script.reset_states()
        windows = [torch.from_numpy(call[at : at + WINDOW]) for at in range(0, len(call) - WINDOW + 1, WINDOW)]
        published = [script(window, 16_000).item() for window in windows]
    assert np.allclose(heard(model, call)[0]["speech"][0], published, atol=1e-3)


@pytest.mark.parametrize("size", [100, 512, 5000, 16_001])
def test_pieces_are_heard_as_the_whole(model: SileroVad, call: Any, size: int) -> None:
    """Wherever a call is cut, also within a window: the same probabilities, and each piece knows where it is."""
    whole = heard(model, call)[0]["speech"][0]
    state = None
    speech: list[float] = []
    for at in range(0, len(call), size):
        answer, state = heard(model, call[at : at + size], state)
        assert answer["start"] == [len(speech)]
        assert answer["windows"] == [answer["speech"].shape[1]]
        speech += answer["speech"][0].tolist()
    assert np.allclose(speech, whole, atol=1e-5)


def test_calls_in_one_run_do_not_hear_each_other(model: SileroVad, call: Any) -> None:
    """Merged pieces of unlike lengths, of calls at unlike places: each gets what it gets alone."""
    starts = [heard(model, call[:at])[1] for at in (20_000, 33_333, 16_000)]
    requests = [piece(call[at : at + size]) for at, size in ((20_000, 9000), (33_333, 300), (16_000, 20_000))]
    assert len({model.batch_key(request) for request in requests}) == 1
    merged, after = model.predict_keyed(model.collate(requests), {}, [*starts])
    for request, answer, before, state in zip(requests, model.split(merged, requests), starts, after, strict=True):
        alone, (state_alone,) = model.predict_keyed(request, {}, [before])
        for name, array in outputs(alone).items():
            assert outputs(answer)[name].shape == array.shape, name
            assert np.allclose(outputs(answer)[name], array, atol=1e-5), name
        assert np.array_equal(state.heard, state_alone.heard)
        assert state.windows == state_alone.windows
        assert torch.allclose(state.memory[0], state_alone.memory[0], atol=1e-5)


def test_a_piece_that_comes_twice_is_heard_once(model: SileroVad, call: Any) -> None:
    """A delivery that is repeated under its id gets its answer again, and the call goes on as if it had not been."""
    first, state = heard(model, call[:20_000], None, "a")
    again, same = heard(model, call[:20_000], state, "a")
    assert np.array_equal(first["speech"], again["speech"])
    assert same is state
    once = heard(model, call[20_000:], state, "b")[0]
    assert np.array_equal(heard(model, call[20_000:], same, "b")[0]["speech"], once["speech"])
    assert once["start"] == [39]


def test_a_state_is_not_changed(model: SileroVad, call: Any) -> None:
    """A run that fails after this one leaves the call where it was."""
    _, state = heard(model, call[:20_000])
    assert isinstance(state, Listening)
    memory = state.memory[0].clone()
    first = heard(model, call[20_000:], state)[0]["speech"]
    assert torch.equal(state.memory[0], memory)
    assert np.array_equal(heard(model, call[20_000:], state)[0]["speech"], first)


def test_requests_of_plain_callers(model: SileroVad, call: Any) -> None:
    """v1 gives the samples alone; all of them count."""

    async def run(payload: Any) -> Any:
        return await model.postprocess(model.predict(await model.preprocess(payload)))

    (prediction,) = asyncio.run(run({"instances": [call[:1024].tolist()]}))["predictions"]
    assert len(prediction["speech"]) == 2


@pytest.mark.parametrize(
    ("samples", "length", "told"),
    [
        (np.zeros((2, 512)), [512], r"'samples' must be FP32 \[1, -1\]"),
        (np.zeros((1, 512)), [513], "length 513, but there are 512 samples"),
        (np.zeros((1, 512)), [-1], "length -1"),
        (np.zeros((1, 960_001)), [1], "hears 60 s at once"),
    ],
)
def test_what_is_no_piece(model: SileroVad, samples: Any, length: list[int], told: str) -> None:
    """Refused before the run, with what was wrong."""
    arrays = {"samples": samples.astype(np.float32), "length": np.array(length, np.int64)}
    with pytest.raises(InvalidInputError, match=told):
        asyncio.run(model.preprocess(tensors.new_request("m", arrays)))


def test_weights_of_something_else(tmp_path: Path) -> None:
    """Also the safetensors beside the right file is refused: it would load, and answer other probabilities."""
    file = tmp_path / "silero_vad.jit"
    file.write_bytes(b"none")
    for wrong in (file, model_path(WEIGHTS).with_name("silero_vad_16k.safetensors")):
        with pytest.raises(ModelLoadError, match="no TorchScript of Silero VAD"):
            load_voice(wrong)
