"""What no committed file may hold: the traces of one machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# In brackets, so that this file, which is committed as well, is not found by its own patterns.
PLACES = re.compile(r"(?<![\w./{}<>-])/(?:root|work|Users|home/\w+)/\w")
HOSTS = re.compile(
    r"pypi[.]org|pythonhosted[.]org|download[.]pytorch[.]org|registry[.]npmjs[.]org|proxy[.]golang[.]org"
    r"|anaconda[.]org|index[-]url"
)


def texts(tracked: list[str], root: Path) -> dict[str, str]:
    """Every tracked text by its path."""
    found = {}
    for path in tracked:
        content = (root / path).read_bytes()
        if b"\0" not in content:
            found[path] = content.decode("utf-8")
    return found


@pytest.mark.parametrize("pattern", [PLACES, HOSTS], ids=["places", "hosts"])
def test_no_file_names_a_machine_or_a_registry(pattern: re.Pattern[str], tracked: list[str], root: Path) -> None:
    """A path of one machine works nowhere else; where packages come from is the business of the user's own set-up."""
    found = [
        f"{path}:{number}: {line.strip()}"
        for path, text in texts(tracked, root).items()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found


def test_the_patterns_find_what_they_are_for() -> None:
    """A guard that sees nothing guards nothing; and addresses and mount points are no machine's places."""
    for name in ("root", "work", "home/me"):
        assert PLACES.search(f"cd /{name}/x")
        assert not PLACES.search(f"https://example.com/{name}/x")
    assert not PLACES.search("mountPath: /etc/headrace")
    assert HOSTS.search("https://files." + "pythonhosted" + ".org/x")
    assert not HOSTS.search("model: pypi://a==1/b")


def test_every_text_ends_its_last_line(tracked: list[str], root: Path) -> None:
    """Files are UTF-8 text of whole lines with plain line ends, so that diffs show only what was changed."""
    for path, text in texts(tracked, root).items():
        assert "\r" not in text, path
        assert not text or text.endswith("\n"), path
