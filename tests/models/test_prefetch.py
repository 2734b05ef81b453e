"""Files brought while something else is done."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from headrace.errors import ModelLoadError
from headrace.models import prefetch, storage
from headrace.models.prefetch import Prefetch, read_ahead

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Store:
    """A slow store in the place of all others, and how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path | ModelLoadError) -> None:
        self.asked = 0
        self.gate = threading.Event()
        self._path = path
        monkeypatch.setattr(storage, "_path", self.find)

    def find(self, _uri: str, _environment: Mapping[str, str], _mount: Path) -> Path:
        """The path, when it is let."""
        self.asked += 1
        assert self.gate.wait(60)
        if isinstance(self._path, ModelLoadError):
            raise self._path
        return self._path


def test_whoever_asks_waits_for_what_is_on_its_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One fetch; what is asked later, when a model comes back, is looked for anew."""
    (tmp_path / "model.bin").write_bytes(b"weights")
    store = Store(monkeypatch, tmp_path)
    begun = Prefetch("s3://b/m")
    threading.Timer(0.05, store.gate.set).start()
    assert storage.model_path("s3://b/m") == tmp_path
    assert store.asked == 1
    assert storage.model_path("s3://b/m") == tmp_path
    assert store.asked == 2
    end = time.monotonic() + 60
    while begun.took is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert begun.took[0] <= begun.took[1]


def test_what_went_wrong_is_told_to_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """And to nobody else; the thread does not end with a traceback."""
    store = Store(monkeypatch, ModelLoadError("no such bucket"))
    store.gate.set()
    Prefetch("s3://b/m")
    with pytest.raises(ModelLoadError, match="no such bucket"):
        storage.model_path("s3://b/m")
    assert store.asked == 1


def test_more_than_memory_takes_is_not_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading what does not stay would only push out what others need."""
    (tmp_path / "model.bin").write_bytes(bytes(1000))
    assert read_ahead(tmp_path) == 1000
    monkeypatch.setattr(prefetch, "size_of", lambda _: 1 << 60)
    assert read_ahead(tmp_path) == 0
