"""Changes of a user's files while their app is up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable

_CODE = ".py"


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed together."""

    spec: bool
    """The ``headrace.yaml``."""
    code: tuple[Path, ...]
    """Python files, those that went included."""


async def changes(spec: Path, stop: asyncio.Event, note: Callable[[str], None]) -> AsyncIterator[Changes]:
    """Changes of the file and of the Python files below its folder, until ``stop``.

    Environments, caches and hidden folders are not looked into.

    Args:
        spec: The file's absolute path.
        stop: Ends it.
        note: Told why changes are not followed, where the system does not watch the folder: it may have more folders
            below than the system allows.
    """
    from watchfiles import DefaultFilter, awatch
    from watchfiles._rust_notify import WatchfilesRustInternalError

    usual = DefaultFilter()

    def of_interest(change: object, path: str) -> bool:
        return (path == str(spec) or path.endswith(_CODE)) and usual(change, path)  # type: ignore[arg-type]  # its own enum

    try:
        async for found in awatch(spec.parent, watch_filter=of_interest, stop_event=stop):
            paths = {Path(path) for _, path in found}
            yield Changes(spec in paths, tuple(sorted(path for path in paths if path.suffix == _CODE)))
    except (OSError, WatchfilesRustInternalError) as fault:
        note(f"changes in {spec.parent} are not followed: {fault}")
        await stop.wait()


def broken(code: tuple[Path, ...]) -> str:
    """Why a file of these is no Python, in one line; empty where all are, or are gone."""
    for path in code:
        try:
            compile(path.read_bytes(), str(path), "exec")
        except FileNotFoundError:
            continue
        except SyntaxError as fault:
            return f"{path}, line {fault.lineno}: {fault.msg}"
        except (OSError, ValueError) as fault:
            return f"{path}: {fault}"
    return ""
