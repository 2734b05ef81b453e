"""The text example as a user runs it: publish texts, read verdicts, call over HTTP."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from headrace.testing.app import AppRunner, running_app

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EXAMPLE = Path(__file__).parents[2] / "examples/text/headrace.yaml"
TEXTS = {
    "spam.txt": "Congratulations! You have won a lottery prize. Click here now to claim your FREE money, no risk!!!",
    "ham.txt": "Hi Anna, the build of yesterday's branch fails on two tests. Could you have a look? Thanks, Ben",
    "nothing.txt": "",
}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppRunner]:
    """The example as it is, with tracing on: its collector is an image, which the twin does without."""
    document = yaml.safe_load(EXAMPLE.read_text())
    document["spec"]["tracing"] = {}
    file = tmp_path_factory.mktemp("app") / "headrace.yaml"
    file.write_text(yaml.safe_dump(document))
    with running_app(file, tmp_path_factory.mktemp("home")) as running:
        yield running


def test_texts_get_their_verdicts(up: AppRunner, tmp_path: Path) -> None:
    """Spam, a colleague's mail and an empty file: two verdicts with vectors and one dead letter with its reason."""
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    ids = up.publish("mails", *(tmp_path / name for name in TEXTS))
    answers = up.answers("mails.verdicts", *ids.values())
    data: dict[str, Any] = {name: json.loads(answers[event_id].data or b"null") for name, event_id in ids.items()}
    for name in ("spam", "ham"):
        (prediction,) = data[f"{name}.txt"]["predictions"]
        assert prediction["label"] == name
        assert prediction["confidence"] > 0.9
        assert len(prediction["embedding"]) == 384
    assert "empty" in data["nothing.txt"]["detail"]
    letters = {event.id: event for event in up.read("mails.dead-letters")}
    assert letters[ids["nothing.txt"]].get("hrreason") == "rejected"
    assert "spam.txt" in (printed := up.succeed("results", "--topic", "mails.verdicts"))
    assert "spam 100%" in printed


def test_the_trace_is_in_the_twins_own_store(up: AppRunner, tmp_path: Path) -> None:
    """With `tracing: {}` and no backend, `headrace trace` shows every hop all the same."""
    (tmp_path / "a.txt").write_text(TEXTS["ham.txt"])
    (event_id,) = up.publish("mails", tmp_path / "a.txt").values()
    up.answers("mails.verdicts", event_id)
    assert "preprocess" in up.succeed("trace", event_id)


def test_http_callers_get_the_same(up: AppRunner) -> None:
    """KServe v1 at the app's address: several texts in one call, each with its verdict."""
    body = json.dumps({"instances": [TEXTS["spam.txt"], {"text": TEXTS["ham.txt"]}]}).encode()
    request = urllib.request.Request(
        up.state()["ingress"] + "/v1/models/mail-verdicts:predict",
        data=body,
        headers={"Host": "mail-verdicts.mail.localhost", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        assert [each["label"] for each in json.load(response)["predictions"]] == ["spam", "ham"]
