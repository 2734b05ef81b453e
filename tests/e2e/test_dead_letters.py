"""What failed for good, as a user deals with it: look, send back, drop, and count that nothing is lost or twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from headrace.testing.app import until

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.testing.app import AppRunner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_letter_is_shown_sent_back_fails_again_and_is_dropped(up: AppRunner, tmp_path: Path) -> None:
    """Words for a picture: `show` says why, `redrive` makes a new letter that counts it, `audit` finds all in order."""
    (tmp_path / "words.txt").write_text("no picture at all")
    event_id = up.publish("pictures", tmp_path / "words.txt")["words.txt"]
    up.answers("pictures.labels", event_id)
    shown = up.succeed("dead-letters", "show", event_id)
    assert ("rejected" in shown, "no picture at all" in shown, "waiting" in shown) == (True, True, True)
    assert "1 redriven, 1 to pictures" in up.succeed("dead-letters", "redrive", event_id, "--reason", "rejected")

    def waiting() -> list[dict[str, Any]]:
        words = ("list", "--filter", f"id = '{event_id}' AND hrredrives = 1", "--output", "json")
        return [json.loads(line) for line in up.succeed("dead-letters", *words).splitlines()]

    (letter,) = until(waiting, "the event fails again")
    assert (letter["redrives"], letter["reason"], letter["handled"]) == (1, "rejected", None)
    assert "1 dropped" in up.succeed("dead-letters", "drop", event_id)
    assert waiting() == []
    found = json.loads(up.succeed("audit", "--output", "json", "--limit", "1000"))
    assert (found["sound"], found["repeated"]) == (True, 1)
    assert event_id in {one["id"] for one in found["findings"] if one["kind"] == "dead-lettered"}
