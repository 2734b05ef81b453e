"""The app as its users see it: texts in, verdicts out, and no model server while nothing comes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.testing.app import AppRunner
    from headrace.testing.clock import ForwardClock

FOLDER = Path(__file__).parents[1]


def test_texts_are_answered_with_verdicts(headrace_app: AppRunner) -> None:
    """Each event has its own answer: what it is, how sure that is, and its vector."""
    ids = headrace_app.publish("mails", FOLDER / "prize.txt", FOLDER / "build.txt")
    answers = headrace_app.answers("mails.verdicts", *ids.values())
    found = {name: json.loads(answers[event_id].data or b"null")["predictions"][0] for name, event_id in ids.items()}
    assert found["prize.txt"]["label"] == "spam"
    assert found["build.txt"]["label"] == "ham"
    assert len(found["build.txt"]["embedding"]) == 384


def test_an_empty_text_is_a_dead_letter(headrace_app: AppRunner, tmp_path: Path) -> None:
    """Its publisher finds the reason among the answers, and the event is kept."""
    file = tmp_path / "empty.txt"
    file.touch()
    (event_id,) = headrace_app.publish("mails", file).values()
    headrace_app.answers("mails.verdicts", event_id)
    letters = {letter.id: letter for letter in headrace_app.read("mails.dead-letters")}
    assert letters[event_id].get("hrreason") == "rejected"


def test_http_callers_get_verdicts_too(headrace_app: AppRunner) -> None:
    """KServe's v1 protocol, at the app's own address."""
    instances = [(FOLDER / "prize.txt").read_text()]
    answer = headrace_app.post("mail-verdicts", "/v1/models/mail-verdicts:predict", {"instances": instances})
    assert answer["predictions"][0]["label"] == "spam"


def test_nothing_runs_while_nothing_comes(headrace_app: AppRunner, headrace_clock: ForwardClock) -> None:
    """After the idle time, which the clock makes pass at once, there is no process of the model any more."""
    headrace_app.until_zero(headrace_clock)
