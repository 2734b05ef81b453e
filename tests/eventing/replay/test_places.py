"""Places: one contract over a folder here and a bucket of a real server that speaks S3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headrace.errors import ConfigurationError, StorageFullError, UnavailableError
from headrace.eventing.replay.places.place import place_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["here", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the test's files are, by name."""
    if request.param == "s3":
        address: str = request.getfixturevalue("bucket")
        return address
    return str(tmp_path)


def test_what_is_written_is_read(root: str) -> None:
    """Also in several megabytes of chunks; it can be read by lines and from any byte on."""
    place = place_of(f"{root}/calls.jsonl")
    assert (place.version(), place.is_folder(), place.suffix) == ("", False, ".jsonl")
    place.write(b"%d\n" % number * 1000 for number in range(3000))
    assert place.version()
    with place.open() as lines:
        assert sum(1 for _ in lines) == 3_000_000
        lines.seek(2)
        assert lines.read(4) == b"0\n0\n"
    found = place.version()
    place.write([b"other"])
    assert place.version() != found


def test_nothing_is_left_of_what_fails(root: str) -> None:
    """The fault is the writer's own, and the name is not there."""

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise UnavailableError("the topic is gone")

    place = place_of(f"{root}/half.jsonl")
    with pytest.raises(UnavailableError, match="the topic is gone"):
        place.write(broken())
    assert place.version() == ""


def test_the_files_of_a_folder_come_in_order(root: str) -> None:
    """Those of folders beneath it too, by paths beneath it."""
    for name in ("b/2.txt", "a.txt", "b/1.txt"):
        (place := place_of(f"{root}/in/{name}")).name  # noqa: B018  # for the next line
        _write(place.name, name.encode())
    folder = place_of(f"{root}/in")
    assert folder.is_folder()
    assert [file.path for file in folder.files()] == ["a.txt", "b/1.txt", "b/2.txt"]
    assert folder.read("b/1.txt") == b"b/1.txt"
    assert all(file.modified > 1_000_000_000 for file in folder.files())


def test_what_is_not_there_is_named(root: str) -> None:
    """A file, and one of a folder."""
    for name in ("none.jsonl", "none/at/all"):
        with pytest.raises(ConfigurationError, match=name), place_of(f"{root}/{name}").open() as file:
            file.read()
    with pytest.raises(ConfigurationError, match=r"none\.txt"):
        place_of(root).read("none.txt")


def test_buckets_that_are_not_there_or_do_not_answer(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong name is told from a server that is away; so is an address of another kind."""
    with pytest.raises(ConfigurationError, match="no bucket"):
        list(place_of("s3://bucket-that-is-not-there/a").files())
    with pytest.raises(ConfigurationError, match="There is no"):
        place_of("s3://bucket-that-is-not-there/a").write([b"x"])
    with pytest.raises(ConfigurationError, match="names no bucket"):
        place_of("s3://")
    with pytest.raises(ConfigurationError, match="neither a path nor s3"):
        place_of("gs://bucket/a")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(UnavailableError, match="S3 does not answer"):
        place_of(f"{bucket}/a").version()


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """What cannot be written here says why and what to do."""
    with pytest.raises(StorageFullError, match="make room"):
        place_of(str(tmp_path / "no" / "folder" / "x.jsonl")).write([b"x"])


def _write(name: str, content: bytes) -> None:
    if not name.startswith("s3://"):
        from pathlib import Path  # noqa: PLC0415  # one of two branches

        Path(name).parent.mkdir(parents=True, exist_ok=True)
    place_of(name).write([content])
