"""``headrace models``: the cache as its user sees it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from .web import Web


def headrace(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    command = [sys.executable, "-m", "headrace.cli.main", "models", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)


def test_a_model_is_fetched_listed_and_removed(web: Web, environment: dict[str, str]) -> None:
    """``pull`` prints path and checksum, ``list`` what is kept, ``prune`` what goes; nothing kept is no mistake."""
    web.files["/model.bin"] = b"weights"
    uri = f"{web.url}/model.bin"
    pulled = headrace("pull", uri, environment=environment)
    path, pin = pulled.stdout.splitlines()
    assert (Path(path).read_bytes(), pin) == (b"weights", f"sha256={hashlib.sha256(b'weights').hexdigest()}")
    listed = orjson.loads(headrace("list", "--output", "json", environment=environment).stdout)
    assert [(each["uri"], each["bytes"], each["inUse"]) for each in listed] == [(uri, 7, False)]
    assert headrace("prune", "--keep", "1Mi", environment=environment).stdout == "0 models removed, 0.0 MiB\n"
    assert f"removed {uri}" in headrace("prune", environment=environment).stdout
    assert not Path(path).exists()
    assert "0 models" in headrace("list", environment=environment).stdout


def test_mistakes_are_told_in_one_line(web: Web, environment: dict[str, str]) -> None:
    """What is not there ends with 1, what cannot be meant with 2; never a traceback."""
    for arguments, code in ((("pull", f"{web.url}/none"), 1), (("prune", "--keep", "much"), 2)):
        ended = headrace(*arguments, environment=environment)
        assert ended.returncode == code
        assert ended.stderr.startswith("headrace: ")
        assert ended.stderr.count("\n") == 1
