"""The app as its users see it: pictures in, labels out, and no model server while nothing comes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.testing.app import AppRunner
    from headrace.testing.clock import ForwardClock

PICTURE = Path(__file__).parents[1] / "coffee.jpg"


def test_a_picture_is_answered_with_its_label(headrace_app: AppRunner) -> None:
    """An event goes through Kafka, the transformer and the predictor, and its answer comes back."""
    (event_id,) = headrace_app.publish("pictures", PICTURE).values()
    answer = headrace_app.answers("pictures.labels", event_id)[event_id]
    (prediction,) = json.loads(answer.data or b"null")["predictions"]
    assert prediction["label"] == "espresso"


def test_what_is_no_picture_is_a_dead_letter(headrace_app: AppRunner, tmp_path: Path) -> None:
    """Its publisher finds the reason among the answers, and the event is kept."""
    file = tmp_path / "note.txt"
    file.write_text("no picture")
    (event_id,) = headrace_app.publish("pictures", file).values()
    headrace_app.answers("pictures.labels", event_id)
    letters = {letter.id: letter for letter in headrace_app.read("pictures.dead-letters")}
    assert letters[event_id].get("hrreason") == "rejected"


def test_http_callers_get_labels_too(headrace_app: AppRunner) -> None:
    """KServe's v1 protocol, at the app's own address."""
    instances = [{"b64": base64.b64encode(PICTURE.read_bytes()).decode()}]
    answer = headrace_app.post("picture-labels", "/v1/models/picture-labels:predict", {"instances": instances})
    assert answer["predictions"][0]["label"] == "espresso"


def test_nothing_runs_while_nothing_comes(headrace_app: AppRunner, headrace_clock: ForwardClock) -> None:
    """After the idle time, which the clock makes pass at once, there is no process of the model any more."""
    headrace_app.until_zero(headrace_clock)
