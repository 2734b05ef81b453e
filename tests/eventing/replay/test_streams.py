"""``scripts/example_streams.py``: a recorded stream for each example app, always the same."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from headrace.eventing.codec.kafka import read_record
from headrace.eventing.replay.files import source_of
from headrace.eventing.replay.places.place import place_of
from headrace.eventing.replay.recording import plain

if TYPE_CHECKING:
    from headrace.eventing.event import CloudEvent

SCRIPT = Path(__file__).parents[3] / "scripts" / "example_streams.py"


def made(folder: Path, kind: str, name: str, *more: str) -> list[CloudEvent]:
    """The events of the stream that the script makes."""
    command = [sys.executable, str(SCRIPT), kind, *more, "-o", str(folder / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    records = source_of(place_of(str(folder / name)), attributes={}, end=None).read({})
    return [plain(read_record(record, namespace="", name="")) for record in records]


def mails(folder: Path) -> Path:
    """A few mails as the corpus has them."""
    for group in ("easy-ham-1", "spam-1"):
        (folder / group).mkdir(parents=True)
        for number in range(4):
            text = f"Subject: {group} {number}\nContent-Type: text/html\n\n<p>Hello &amp; welcome,\nnumber {number}</p>"
            (folder / group / f"{number}.json").write_text(json.dumps({"text": text}))
    return folder


def test_mails(tmp_path: Path) -> None:
    """Subject and text without markup, each an event of the text example, over a week, in an order of chance."""
    found = made(tmp_path, "text", "mails.jsonl", str(mails(tmp_path / "data")), "--most", "6")
    assert [event.id for event in found] == [f"mail-{number}" for number in range(6)]
    assert b"Hello & welcome, number" in (found[0].data or b"")
    assert {(event.type, event.content_type) for event in found} == {("com.example.mail", "text/plain")}
    assert [event.get("time") for event in found] == sorted(event.get("time") for event in found)
    again = made(tmp_path, "text", "again.parquet", str(tmp_path / "data"), "--most", "6")
    assert [event.data for event in again] == [event.data for event in found]


def test_pictures(tmp_path: Path) -> None:
    """Pictures that can be decoded, of a few cameras: the samples first, then parts of them."""
    found = made(tmp_path, "pictures", "pictures.parquet", "--most", "30")
    assert {event.get("partitionkey") for event in found} == {f"camera-{number}" for number in range(5)}
    for event in (found[0], found[-1]):
        with Image.open(io.BytesIO(event.data or b"")) as picture:
            assert min(picture.size) > 20
    assert len({event.data for event in found}) == 30


def test_calls(tmp_path: Path) -> None:
    """Several calls at once, each in pieces of sound that the audio example takes."""
    found = made(tmp_path, "audio", "calls.jsonl", "--most", "20")
    assert {event.get("partitionkey") for event in found} >= {f"call-{number}" for number in range(4)}
    with wave.open(io.BytesIO(found[0].data or b"")) as piece:
        assert (piece.getframerate(), piece.getnchannels(), piece.getsampwidth()) == (16000, 1, 2)


@pytest.mark.parametrize("words", [("text",), ("text", "nowhere")])
def test_mails_need_their_folder(tmp_path: Path, words: tuple[str, ...]) -> None:
    """What is missing is said, and where it comes from."""
    command = [sys.executable, str(SCRIPT), *words, "-o", str(tmp_path / "x.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert "scripts/mails.py" in done.stderr
