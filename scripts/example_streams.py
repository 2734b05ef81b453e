"""Make a recorded stream for an example app: events of a week, to be published or replayed.

    python scripts/example_streams.py text package/data -o mails.jsonl     # SpamAssassin's mails: scripts/mails.py
    python scripts/example_streams.py pictures -o pictures.parquet         # samples of scikit-image and scikit-learn
    python scripts/example_streams.py audio -o calls.jsonl                 # calls in pieces, out of examples/audio

The same arguments give the same events, ids and order, but for the time: they lie evenly in the week that ends now. A
name that ends in .parquet makes a table, and s3:// writes to a bucket.
"""

from __future__ import annotations

import argparse
import io
import random
import wave
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from mails import mails
from PIL import Image, ImageOps

from headrace.cli.demo_pictures import sample_pictures
from headrace.eventing.codec.kafka import write_record
from headrace.eventing.event import new_event
from headrace.eventing.log import Partition, Record
from headrace.eventing.replay.files import dump_as
from headrace.eventing.replay.places.place import place_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CALL = Path(__file__).parent.parent / "examples" / "audio" / "call.wav"
WEEK = timedelta(days=7)
PIECE = 0.7
"""Seconds of a call in one event."""
TOPICS = {"text": "mails", "pictures": "pictures", "audio": "calls"}
TYPES = {"text": "com.example.mail", "pictures": "com.example.picture", "audio": "com.example.call"}
Item = tuple[str, str, bytes, str]
"""Id, media type, data, and the key; empty for none."""


def texts(folder: Path, most: int) -> Iterator[Item]:
    """The mails, in an order of chance that is always the same."""
    chosen = [text for text, _ in mails(folder, most)]
    random.Random(1).shuffle(chosen)  # noqa: S311  # the same order every time
    for number, text in enumerate(chosen[:most]):
        yield f"mail-{number}", "text/plain", text.encode(), ""


def pictures(most: int) -> Iterator[Item]:
    """The sample pictures, and parts of them: each as a camera that moves would see it."""
    dice, samples = random.Random(2), sample_pictures()  # noqa: S311  # the same pictures every time
    for number in range(most):
        with Image.open(samples[number % len(samples)]) as picture:
            whole = ImageOps.exif_transpose(picture).convert("RGB")
        if number >= len(samples):
            whole = _part(whole, dice)
        file = io.BytesIO()
        whole.save(file, "JPEG", quality=90)
        yield f"picture-{number}", "image/jpeg", file.getvalue(), f"camera-{number % 5}"


def _part(picture: Image.Image, dice: random.Random) -> Image.Image:
    share = dice.uniform(0.5, 0.9)
    width, height = max(1, int(picture.width * share)), max(1, int(picture.height * share))
    left, top = dice.randint(0, picture.width - width), dice.randint(0, picture.height - height)
    found = picture.crop((left, top, left + width, top + height))
    return ImageOps.mirror(found) if dice.random() < 0.5 else found  # noqa: PLR2004  # every second one


def audio(most: int) -> Iterator[Item]:
    """Calls in pieces, several at once: the example's sentence, louder or softer, after silences of many lengths."""
    dice, number, call = random.Random(3), 0, 0  # noqa: S311  # the same calls every time
    while number < most:
        together = [_pieces(dice) for _ in range(4)]
        for place in range(max(map(len, together))):
            for beside, pieces in enumerate(together):
                if place < len(pieces) and number < most:
                    yield f"piece-{number}", "audio/wav", pieces[place], f"call-{call + beside}"
                    number += 1
        call += len(together)


def _pieces(dice: random.Random) -> list[bytes]:
    import numpy as np  # noqa: PLC0415  # for calls alone

    with wave.open(str(CALL)) as whole:
        rate, samples = whole.getframerate(), np.frombuffer(whole.readframes(whole.getnframes()), np.int16)
    silence = np.zeros(int(dice.uniform(0, 2) * rate), np.int16)
    sound = np.concatenate([silence, (samples * dice.uniform(0.2, 1.0)).astype(np.int16)])
    return [_wave(part.tobytes(), rate) for part in np.array_split(sound, int(len(sound) / rate / PIECE) + 1)]


def _wave(frames: bytes, rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as part:
        part.setparams((1, 2, rate, 0, "NONE", ""))
        part.writeframes(frames)
    return file.getvalue()


def records(kind: str, items: list[Item]) -> Iterator[Record]:
    """The items as records of the example's topic, over the last week."""
    end, partition = datetime.now(timezone.utc), Partition(TOPICS[kind], 0)
    for number, (identifier, media, data, key) in enumerate(items):
        moment = end - WEEK + WEEK * number / len(items)
        attributes = {
            "specversion": "1.0",
            "id": identifier,
            "source": f"/examples/{kind}",
            "type": TYPES[kind],
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "datacontenttype": media,
        }
        if key:
            attributes["partitionkey"] = key
        written = write_record(new_event(attributes, data), partition.topic, trace={})
        timestamp = int(moment.timestamp() * 1000)
        yield Record(partition, number, timestamp, written.key, written.value, written.headers)


def main() -> None:
    """Make it."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("kind", choices=sorted(TOPICS))
    arguments.add_argument("data", type=Path, nargs="?", help="for text: the folder package/data of the mails")
    arguments.add_argument("-o", "--output", required=True, help="the recording")
    arguments.add_argument("--most", type=int, default=500, help="events")
    given = arguments.parse_args()
    if given.kind == "text" and (given.data is None or not given.data.is_dir()):
        arguments.error("text needs the folder of the mails: scripts/mails.py says where it comes from")
    made = {"text": lambda: texts(given.data, given.most), "pictures": lambda: pictures(given.most),
            "audio": lambda: audio(given.most)}  # fmt: skip
    items = list(made[given.kind]())
    place = place_of(given.output)
    place.write(dump_as(place.suffix)(records(given.kind, items)))
    print(f"{len(items)} events for {TOPICS[given.kind]} in {given.output}")  # noqa: T201


if __name__ == "__main__":
    main()
