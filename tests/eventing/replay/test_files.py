"""Files and folders as sources of a replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from headrace.errors import ConfigurationError
from headrace.eventing.codec.kafka import read_record, write_record
from headrace.eventing.event import new_event
from headrace.eventing.log import Partition, Record
from headrace.eventing.replay.files import Folder, source_of
from headrace.eventing.replay.log import ReplayLog
from headrace.eventing.replay.places.place import place_of
from headrace.eventing.replay.recording import plain

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from headrace.eventing.event import CloudEvent


def events(records: Iterable[Record]) -> list[CloudEvent]:
    """What a model gets of them."""
    return [plain(read_record(record, namespace="", name="")) for record in records]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of two cameras, and what is none of the user's files."""
    made = tmp_path / "pictures"
    for place in ("north/1.png", "south/2.jpg", ".cache/3.png"):
        (made / place).parent.mkdir(parents=True)
        (made / place).write_bytes(place.encode())
    return made


def test_a_folder_is_a_source(folder: Path) -> None:
    """Each file is an event, in the order of paths, with attributes by a template; its id is the same in every life."""
    attributes = {"type": "com.example.picture", "partitionkey": "{folder}", "subject": "{stem} of {path}"}
    source = source_of(place_of(str(folder)), attributes=attributes, end=None)
    first, second = events(source.read({}))
    assert (first.data, second.data) == (b"north/1.png", b"south/2.jpg")
    assert (first.get("partitionkey"), first.get("subject")) == ("north", "1 of north/1.png")
    assert (first.content_type, second.content_type, first.type) == ("image/png", "image/jpeg", "com.example.picture")
    again = source_of(place_of(str(folder)), attributes=attributes, end=None).read({source.partitions[0]: 1})
    assert [event.id for event in events(again)] == [second.id]
    assert first.id != second.id


@pytest.mark.parametrize("attributes", [{"subject": "{size}"}, {"Type": "x"}, {"subject": "{"}])
def test_a_template_that_cannot_be_filled_is_told_before_the_run(folder: Path, attributes: dict[str, str]) -> None:
    """An unknown field, a name that CloudEvents does not have, a brace alone: said at once, with what there is."""
    with pytest.raises(ConfigurationError, match=r"\{stem\}"):
        Folder(place_of(str(folder)), attributes)


def test_a_batch_of_cloudevents_is_a_source(tmp_path: Path) -> None:
    """A ``.json`` file holds an array; one item that is no event is one bad record, and no end of the run."""
    path = tmp_path / "batch.json"
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"a": 1}}
    path.write_bytes(orjson.dumps([event, {"id": "half"}, {**event, "id": "2"}]))
    records = list(source_of(place_of(str(path)), attributes={}, end=None).read({}))
    assert [record.offset for record in records] == [0, 1, 2]
    assert [event.id for event in events([records[0], records[2]])] == ["1", "2"]


@pytest.mark.parametrize(("content", "says"), [(b"{}", "no array"), (b"[", "is no JSON")])
def test_a_file_that_is_no_batch_is_told(tmp_path: Path, content: bytes, says: str) -> None:
    """What it is instead, and what to do."""
    path = tmp_path / "batch.json"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=says):
        list(source_of(place_of(str(path)), attributes={}, end=None).read({}))


def test_a_dead_letter_is_replayed_as_the_event_it_was() -> None:
    """What the dispatcher wrote on it stays behind; the run's mark comes."""
    attributes = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "colour": "red"}
    letter = new_event({**attributes, "hrreason": "exhausted", "hrattempts": "5", "knativeerrorcode": "503"}, b"x")
    written = write_record(letter, "dead", trace={})
    log = ReplayLog("r1", None, None)  # type: ignore[arg-type]  # neither is asked
    marked = log._marked(Record(Partition("dead", 0), 3, 0, None, written.value, written.headers))
    found = events([marked])[0].without("traceparent")  # there where some other test has turned tracing on
    assert dict(found.attributes) == {**attributes, "hrreplay": "r1"}
