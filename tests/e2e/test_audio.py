"""The audio example as a user runs it: pieces of calls, published by key, come back with the stretches of speech."""

from __future__ import annotations

import base64
import itertools
import json
import urllib.request
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headrace.testing.app import AppRunner, running_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.eventing.event import CloudEvent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EXAMPLE = Path(__file__).parents[2] / "examples/audio"
SECOND = 16_000
BYTES = 2


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppRunner]:
    """The example, up."""
    with running_app(EXAMPLE / "headrace.yaml", tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The example's call, cut into files of 0.7 s."""
    folder = tmp_path_factory.mktemp("pieces")
    with wave.open(str(EXAMPLE / "call.wav")) as whole:
        frames = whole.readframes(whole.getnframes())
    size = SECOND * 7 // 10 * BYTES
    files = []
    for number, at in enumerate(range(0, len(frames), size)):
        files.append(folder / f"{number}.wav")
        with wave.open(str(files[-1]), "wb") as file:
            file.setparams((1, BYTES, SECOND, 0, "NONE", ""))
            file.writeframes(frames[at : at + size])
    return files


def prediction(answer: CloudEvent) -> Any:
    """What a result event says."""
    return json.loads(answer.data or b"null")["predictions"][0]


def test_a_call_in_pieces(up: AppRunner, pieces: list[Path]) -> None:
    """Two calls at once, each in six pieces: each hears its own sentence, where it is, and nothing of the other."""
    calls = {key: up.publish("calls", *pieces, key=key) for key in ("call-1", "call-2")}
    for ids in calls.values():
        answers = up.answers("calls.speech", *ids.values())
        told = [prediction(answers[ids[path.name]]) for path in pieces]
        assert [each["label"] for each in told] == ["silence", "speech", "speech", "speech", "silence", "silence"]
        assert told[0]["start"] == 0
        assert all(after["start"] == before["end"] for before, after in itertools.pairwise(told))
        stretches = [stretch for each in told for stretch in each["speech"]]
        assert 1.0 < stretches[0]["start"] < 1.3
        assert 2.5 < stretches[-1]["end"] < 2.8
    assert "silence" in up.succeed("results", "--topic", "calls.speech")


def test_a_sound_of_another_rate_is_a_dead_letter(up: AppRunner, tmp_path: Path) -> None:
    """Its reason says what converts it."""
    file = tmp_path / "phone.wav"
    with wave.open(str(file), "wb") as phone:
        phone.setparams((1, BYTES, 8000, 0, "NONE", ""))
        phone.writeframes(bytes(8000))
    (event_id,) = up.publish("calls", file, key="call-3").values()
    answer = up.answers("calls.speech", event_id)[event_id]
    assert "8000 samples a second, not 16000; sox" in json.loads(answer.data or b"null")["detail"]
    letters = {event.id: event for event in up.read("calls.dead-letters")}
    assert letters[event_id].get("hrreason") == "rejected"


def test_a_whole_call_over_http(up: AppRunner) -> None:
    """One request without a key is a call of its own: the numbers that docs/examples.md shows."""
    body = json.dumps({"instances": [{"b64": base64.b64encode((EXAMPLE / "call.wav").read_bytes()).decode()}]})
    request = urllib.request.Request(
        up.state()["ingress"] + "/v1/models/call-speech:predict",
        data=body.encode(),
        headers={"Host": "call-speech.calls.localhost", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        (found,) = json.load(response)["predictions"]
    assert (found["label"], found["start"], found["end"]) == ("speech", 0.0, 3.936)
    assert found["speech"] == [{"start": 1.056, "end": 2.656}]
    assert '"speech": [{"start": 1.056, "end": 2.656}]' in (EXAMPLE.parents[1] / "docs/examples.md").read_text()
