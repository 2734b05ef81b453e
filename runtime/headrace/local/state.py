"""Where the twin keeps its files, and what a running twin says about itself to the other commands.

``state.json`` stands in the home while the twin is up. Owner: the twin's process, which holds the lock of that home;
everyone else reads.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import psutil

from headrace.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

HOME_VARIABLE = "HEADRACE_HOME"
"""Environment variable: the folder of the twin's state, logs, traces and embedded Kafka."""


@dataclass(frozen=True, slots=True)
class RunningApp:
    """One app of a running twin."""

    name: str
    namespace: str
    topics: tuple[str, ...] = ()
    results: str = ""
    """The topic of its answers; empty where they are not kept."""
    dead_letters: str = ""
    """The topic of what failed for good."""
    group: str = ""
    """Its consumer group."""
    filters: tuple[dict[str, Any], ...] = ()
    """What its trigger lets through, in the dialects of ``headrace.eventing.filters``; empty for every event."""


@dataclass(frozen=True, slots=True)
class State:
    """A running twin."""

    pid: int
    created: float
    """When that process began, as the system tells it: another process with its number is not taken for it."""
    kafka: str
    """``host:port``."""
    ingress: str
    """URL."""
    otlp: str
    """OTLP/HTTP base URL."""
    traces: str
    """Path of the trace store."""
    logs: str
    """Path of the log folder."""
    apps: tuple[RunningApp, ...] = ()


class Home:
    """The folder of one twin.

    Args:
        path: The folder; made when first written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state_file = path / "state.json"
        self.traces = path / "traces.sqlite"
        self.logs = path / "logs"
        self.mounts = path / "mounts"
        self.kafka = path / "kafka"
        self.eventing = path / "eventing.json"
        self._lock: int | None = None

    def pause_file(self, app: str) -> Path:
        """The file that is there while the app is paused, whether it is up or not."""
        return self.path / "paused" / app

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Home:
        """``$HEADRACE_HOME``, else ``headrace`` in ``$XDG_STATE_HOME``, which is ``~/.local/state`` by default."""
        if named := environment.get(HOME_VARIABLE):
            return cls(Path(named).expanduser().absolute())
        state = environment.get("XDG_STATE_HOME")
        return cls((Path(state) if state else Path.home() / ".local" / "state") / "headrace")

    def lock(self) -> None:
        """Claim this home until :meth:`unlock` or the end of this process, however it ends.

        Raises:
            ConfigurationError: another twin has it.
            UnavailableError: the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as fault:
            raise UnavailableError(
                f"Cannot write to {self.path}: {fault.strerror}", hint=f"set {HOME_VARIABLE}"
            ) from fault
        if not _try_lock(descriptor):
            os.close(descriptor)
            running = self.read()
            process = f", process {running.pid}" if running else ""
            raise ConfigurationError(
                f"A twin is already up in {self.path}{process}",
                hint=f"'headrace down' ends it; another {HOME_VARIABLE} keeps both",
            )
        self._lock = descriptor

    def unlock(self) -> None:
        """Give the home back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write(self, state: State) -> None:
        """Publish the state: a reader sees the whole of it or none.

        Raises:
            UnavailableError: the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            draft = self.state_file.with_suffix(f".{os.getpid()}")
            draft.write_bytes(orjson.dumps(asdict(state), option=orjson.OPT_INDENT_2))
            draft.replace(self.state_file)
        except OSError as fault:
            raise UnavailableError(f"Cannot write {self.state_file}: {fault.strerror}") from fault

    def read(self) -> State | None:
        """The running twin of this home; None where none runs, also when one died without taking its state away.

        Raises:
            ConfigurationError: the file is none of this Headrace.
        """
        try:
            content = self.state_file.read_bytes()
        except FileNotFoundError:
            return None
        try:
            state = _state(orjson.loads(content))
        except (orjson.JSONDecodeError, TypeError, KeyError) as fault:
            raise ConfigurationError(
                f"{self.state_file} is no state of this Headrace: {fault}", hint="delete it; no twin needs it to start"
            ) from fault
        return state if created(state.pid) == state.created else None

    def remove(self) -> None:
        """Take the state away."""
        self.state_file.unlink(missing_ok=True)


def created(pid: int) -> float | None:
    """When the process with this number began, in seconds of Unix time; None where there is none."""
    try:
        process = psutil.Process(pid)
        # A zombie answers for its number until it is reaped, and runs nothing.
        return None if process.status() == psutil.STATUS_ZOMBIE else round(float(process.create_time()), 2)
    except psutil.Error:
        return None


def _state(document: dict[str, Any]) -> State:
    # A twin of an earlier version says less of its apps.
    apps = tuple(
        RunningApp(**{**app, "topics": tuple(app["topics"]), "filters": tuple(app.get("filters", ()))})
        for app in document.pop("apps")
    )
    return State(**document, apps=apps)


def _try_lock(descriptor: int) -> bool:
    import fcntl  # noqa: PLC0415 - not on Windows, where nothing else of the twin works and --help should

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
