"""The cache of fetched models: shared, bounded, and whole whatever happens."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from headrace.errors import ConfigurationError, ModelLoadError, StorageFullError
from headrace.models import storage
from headrace.models.fetching import locks, process
from headrace.models.fetching.cache import Cache
from headrace.models.fetching.settings import CacheSettings, cache_settings
from headrace.models.model_uri import parse_model_uri
from headrace.models.storage import model_path, release

from .conftest import SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from headrace.models.model_uri import ModelUri

    from .web import Web

DEADLINE = 60.0
ASK = "import sys; from headrace.models.storage import model_path; print(model_path(sys.argv[1]), flush=True)"
WEIGHTS = b"w" * 100_000


@pytest.fixture(autouse=True)
def _released() -> Iterator[None]:
    """What a test uses it does not use for ever."""
    yield
    for uri in list(storage._USED):
        release(uri)


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A store in this process in the place of the process that fetches; by URI, and counted under ``asked``."""
    store: dict[str, bytes] = {"asked": b""}

    def fetch(uri: ModelUri, folder: Path, _scratch: Path, _environment: Mapping[str, str]) -> None:
        store["asked"] += b"."
        (folder / uri.last).write_bytes(store[uri.place])

    monkeypatch.setattr(process, "fetch", fetch)
    return store


def until(condition: Callable[[], object]) -> None:
    """Wait for it."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def ask(uri: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A replica that wants the model."""
    return subprocess.Popen(
        [sys.executable, "-c", ASK, uri], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def fetchers(cache: str) -> list[int]:
    """The processes that fetch into this cache."""
    found = []
    for each in psutil.process_iter(["cmdline"]):
        if "headrace.models.fetching.child" in (each.info["cmdline"] or ()):
            try:
                if each.environ().get("HEADRACE_MODEL_CACHE") == cache:
                    found.append(each.pid)
            except psutil.Error:
                continue
    return found


def test_two_replicas_fetch_once(web: Web, environment: dict[str, str]) -> None:
    """One fetches, the other waits for it, and both have the same files."""
    web.files["/model.bin"] = WEIGHTS
    web.holds.clear()
    replicas = [ask(f"{web.url}/model.bin", environment) for _ in range(2)]
    assert web.begun.wait(DEADLINE)
    web.holds.set()
    paths = {replica.communicate(timeout=DEADLINE)[0].strip() for replica in replicas}
    assert len(paths) == 1
    assert Path(paths.pop()).read_bytes() == WEIGHTS
    assert len(web.asked) == 1


def test_a_replica_that_is_killed_stands_in_nobodys_way(web: Web, environment: dict[str, str]) -> None:
    """In the middle of a fetch: its fetcher ends too, the next replica begins anew, and nothing half is left."""
    web.files["/model.bin"] = WEIGHTS
    web.holds.clear()
    killed = ask(f"{web.url}/model.bin", environment)
    assert web.begun.wait(DEADLINE)
    cache = Path(environment["HEADRACE_MODEL_CACHE"])
    until(lambda: list(cache.glob(".partial/*/entry/files/model.bin")))
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=DEADLINE)
    until(lambda: not fetchers(str(cache)))
    web.holds.set()
    assert model_path(f"{web.url}/model.bin", environment=environment).read_bytes() == WEIGHTS
    assert not list(cache.glob(".partial/*"))


def test_a_fetcher_that_is_killed_is_told(web: Web, environment: dict[str, str]) -> None:
    """The out-of-memory killer takes it: the error says that its process ended, and nothing half is left."""
    web.files["/model.bin"] = WEIGHTS
    web.holds.clear()
    replica = ask(f"{web.url}/model.bin", environment)
    assert web.begun.wait(DEADLINE)
    for number in fetchers(environment["HEADRACE_MODEL_CACHE"]):
        os.kill(number, signal.SIGKILL)
    told = replica.communicate(timeout=DEADLINE)[1]
    assert "its process ended with -9" in told
    assert not list(Path(environment["HEADRACE_MODEL_CACHE"]).glob(".partial/*"))


def test_a_fetch_that_stands_still_is_given_up(web: Web, environment: dict[str, str]) -> None:
    """Nothing hangs: a store that sends nothing any more is told after a while."""
    web.files["/model.bin"] = WEIGHTS
    web.holds.clear()
    environment["HEADRACE_MODEL_STALL"] = "1.5"
    with pytest.raises(ModelLoadError, match=r"nothing came for 1\.5 s"):
        model_path(f"{web.url}/model.bin", environment=environment)


def test_the_disk_is_full(web: Web, environment: dict[str, str]) -> None:
    """The error names the URI, the cache and the remedies; nothing half is left."""
    web.files["/model.bin"] = WEIGHTS
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)); {ASK}"
    ended = subprocess.run(
        [sys.executable, "-c", limited, f"{web.url}/model.bin"],
        env=environment, capture_output=True, text=True, check=False, timeout=DEADLINE,
    )  # fmt: skip
    last = ended.stderr.strip().splitlines()[-1]
    assert "StorageFullError" in last
    for part in (f"{web.url}/model.bin", environment["HEADRACE_MODEL_CACHE"], "headrace models prune"):
        assert part in last
    assert not list(Path(environment["HEADRACE_MODEL_CACHE"]).glob(".partial/*"))


def test_models_that_nobody_uses_make_room(
    stored: dict[str, bytes], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is tried once more when they have gone; one that is in use stays."""
    for name in ("a", "b", "c"):
        stored[f"https://h/{name}"] = WEIGHTS
    used = model_path("https://h/a", environment=environment)
    unused = model_path("https://h/b", environment=environment)
    release("https://h/b")
    fetch = process.fetch

    def full(uri: ModelUri, *rest: object) -> None:
        if unused.exists():
            raise StorageFullError("no room")
        fetch(uri, *rest)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(process, "fetch", full)
    assert model_path("https://h/c", environment=environment).read_bytes() == WEIGHTS
    assert used.exists()


def test_the_least_recently_used_go_first(stored: dict[str, bytes], environment: dict[str, str]) -> None:
    """Beyond the limit, and never one in use; a new use makes a model young."""
    environment["HEADRACE_MODEL_CACHE_SIZE"] = "250k"
    paths = {}
    for name in ("a", "b"):
        stored[f"https://h/{name}"] = WEIGHTS
        paths[name] = model_path(f"https://h/{name}", environment=environment)
        release(f"https://h/{name}")
    for name, gone in (("c", "b"), ("d", "c")):
        model_path("https://h/a", environment=environment)  # and it stays in use
        stored[f"https://h/{name}"] = WEIGHTS
        paths[name] = model_path(f"https://h/{name}", environment=environment)
        release(f"https://h/{name}")
        assert [key for key, path in paths.items() if not path.exists()][-1] == gone
        assert paths["a"].exists()


def test_a_use_ends_with_its_process(stored: dict[str, bytes], environment: dict[str, str]) -> None:
    """A model is kept while another process uses it, and not longer, however that ends."""
    stored["https://h/a"] = WEIGHTS
    path = model_path("https://h/a", environment=environment)
    release("https://h/a")
    holding = f"{ASK}; import time; time.sleep(600)"
    other = subprocess.Popen(
        [sys.executable, "-c", holding, "https://h/a"], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline().strip() == str(path)
    cache = Cache(cache_settings(environment))
    assert [kept.in_use for kept in cache.kept()] == [True]
    assert not cache.prune()
    other.kill()
    other.communicate()
    assert [kept.entry.uri for kept in cache.prune()] == ["https://h/a"]
    assert not path.exists()


@pytest.mark.parametrize("pinned", [False, True])
def test_a_damaged_model_is_fetched_again(
    stored: dict[str, bytes], environment: dict[str, str], *, pinned: bool
) -> None:
    """A file that has changed or is cut off; under a checksum also one whose size and time are as they were."""
    stored["https://h/a"] = WEIGHTS
    uri = "https://h/a" + (f"?sha256={hashlib.sha256(WEIGHTS).hexdigest()}" if pinned else "")
    path = model_path(uri, environment=environment)
    before = path.stat()
    path.write_bytes(b"x" * (len(WEIGHTS) if pinned else 10))
    if pinned:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert model_path(uri, environment=environment).read_bytes() == WEIGHTS
    path.unlink()
    assert model_path(uri, environment=environment).read_bytes() == WEIGHTS
    assert stored["asked"] == b"..."


def test_who_is_waited_for_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By process and host, again and again, until it lets go."""
    monkeypatch.setattr(locks, "TELL", 0.0)
    held = locks.take(tmp_path / "lock")
    assert held is not None
    told: list[str] = []
    waiting = threading.Thread(target=lambda: locks.wait(tmp_path / "lock", told.append).close())
    waiting.start()
    until(lambda: len(told) > 1)
    assert f"process {os.getpid()} on " in told[0]
    held.close()
    waiting.join(DEADLINE)
    assert not waiting.is_alive()


def test_where_and_how_large(tmp_path: Path) -> None:
    """Two variables; without the first it lies among the user's caches."""
    assert cache_settings({"HOME": str(tmp_path)}) == CacheSettings(tmp_path / ".cache" / "headrace" / "models")
    assert cache_settings({"HEADRACE_MODEL_CACHE": "/c", "HEADRACE_MODEL_CACHE_SIZE": "2.5Gi"}).limit == 5 << 29
    with pytest.raises(ConfigurationError, match="HEADRACE_MODEL_CACHE_SIZE 'much'"):
        cache_settings({"HEADRACE_MODEL_CACHE_SIZE": "much"})


def test_what_is_kept_names_no_secret(stored: dict[str, bytes], environment: dict[str, str]) -> None:
    """Neither the names in the folder nor what is written of a model has a login."""
    uri = f"https://me:{SECRET}@h/a?signature={SECRET}"
    stored[parse_model_uri(uri).place] = WEIGHTS
    model_path(uri, environment=environment)
    for path in Path(environment["HEADRACE_MODEL_CACHE"]).rglob("*"):
        assert SECRET not in str(path)
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()
