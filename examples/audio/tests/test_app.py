"""The app as its users see it: pieces of calls in, speech out, and no model server while nothing comes."""

from __future__ import annotations

import base64
import json
import wave
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.testing.app import AppRunner
    from headrace.testing.clock import ForwardClock

CALL = Path(__file__).parents[1] / "call.wav"


def test_the_pieces_of_a_call_are_heard_as_one(headrace_app: AppRunner, tmp_path: Path) -> None:
    """The second piece begins where the first has ended: the model remembers the call by the events' key."""
    pieces = cut(CALL, tmp_path)
    ids = headrace_app.publish("calls", *pieces, key="call-7")
    answers = headrace_app.answers("calls.speech", *ids.values())
    first, second = (json.loads(answers[ids[path.name]].data or b"null")["predictions"][0] for path in pieces)
    assert first["start"] == 0
    assert first["end"] == second["start"]
    assert first["speech"] or second["speech"]


def test_a_call_of_another_rate_is_a_dead_letter(headrace_app: AppRunner, tmp_path: Path) -> None:
    """Its publisher finds the reason among the answers, and the event is kept."""
    file = tmp_path / "phone.wav"
    with wave.open(str(file), "wb") as phone:
        phone.setparams((1, 2, 8000, 0, "NONE", ""))
        phone.writeframes(bytes(8000))
    (event_id,) = headrace_app.publish("calls", file, key="call-8").values()
    headrace_app.answers("calls.speech", event_id)
    letters = {letter.id: letter for letter in headrace_app.read("calls.dead-letters")}
    assert letters[event_id].get("hrreason") == "rejected"


def test_http_callers_are_heard_too(headrace_app: AppRunner) -> None:
    """KServe's v1 protocol, at the app's own address: one request without a key is a call of its own."""
    instances = [{"b64": base64.b64encode(CALL.read_bytes()).decode()}]
    answer = headrace_app.post("call-speech", "/v1/models/call-speech:predict", {"instances": instances})
    assert answer["predictions"][0]["speech"]


def test_nothing_runs_while_nothing_comes(headrace_app: AppRunner, headrace_clock: ForwardClock) -> None:
    """After the idle time, which the clock makes pass at once, there is no process of the model any more."""
    headrace_app.until_zero(headrace_clock)


def cut(file: Path, folder: Path) -> list[Path]:
    """The two halves of a WAV file."""
    with wave.open(str(file)) as whole:
        parameters, frames = whole.getparams(), whole.readframes(whole.getnframes())
    middle = len(frames) // 4 * 2
    halves = {folder / "1.wav": frames[:middle], folder / "2.wav": frames[middle:]}
    for path, part in halves.items():
        with wave.open(str(path), "wb") as piece:
            piece.setparams(parameters._replace(nframes=0))
            piece.writeframes(part)
    return list(halves)
