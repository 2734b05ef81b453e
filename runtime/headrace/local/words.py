"""The words of a container's command, as they must be on this machine: its ports, its addresses, its programs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PORT_FLAG = re.compile(r"--[\w-]*port\Z|-p\Z")
_PYTHON = re.compile(r"python(3(\.\d+)?)?\Z")
_EVERYWHERE = re.compile(r"(?<![\w.:])(?:0\.0\.0\.0|\[::\]|localhost|127\.0\.0\.1):(\d+)(?![\d.])")
_ANY_HOST = re.compile(r"(\A|=):(\d+)\Z")


def with_ports_of(text: str, ports: Mapping[int, int]) -> str:
    """``text`` with this replica's port in addresses such as ``0.0.0.0:8080``, all of which are loopback here."""
    text = _EVERYWHERE.sub(
        lambda found: f"127.0.0.1:{ports[int(found[1])]}" if int(found[1]) in ports else found[0], text
    )
    return re.sub(r"(\A|=)0\.0\.0\.0\Z", r"\g<1>127.0.0.1", text)


def port_words(words: Sequence[str], ports: Mapping[int, int], own: int) -> list[str]:
    """``words`` with this replica's ports in flags of ports, or else in the one word that is the container's port."""
    result: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        if equals and value.isdecimal() and _PORT_FLAG.match(flag):
            result.append(f"{flag}={ports.get(int(value), value)}")
        elif word.isdecimal() and result and _PORT_FLAG.match(result[-1]):
            result.append(str(ports.get(int(word), word)))
        elif (found := _ANY_HOST.search(word)) and int(found[2]) in ports:
            result.append(f"{word[: found.start(2) - 1]}127.0.0.1:{ports[int(found[2])]}")
        else:
            result.append(word)
    if result == list(words) and list(words).count(str(own)) == 1:
        # Nothing told the port by a flag: `python -m http.server 8080` has it as a word.
        result[result.index(str(own))] = str(ports.get(own, own))
    return result


def on_this_machine(words: Sequence[str]) -> tuple[str, ...]:
    """The interpreter of the twin stands for the one in the image; programs beside it are found there."""
    program = words[0].rpartition("/")[2] if words else ""
    if program == "headrace":
        return (sys.executable, "-m", "headrace.cli.main", *words[1:])
    if _PYTHON.match(program):
        return (sys.executable, *words[1:])
    installed = Path(sys.executable).with_name(program) if program and "/" not in words[0] else None
    if installed is not None and installed.is_file():
        return (str(installed), *words[1:])
    return tuple(words)
