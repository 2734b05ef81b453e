"""The template's own process: ``python -m headrace.local.template.program SOCKET PRELOADING MODULE CLASS...``.

Imports MODULE, whose ``main`` the forks run, and lets PRELOADING import what serving the CLASSes needs; then forks as
it is told, and tells how each fork ended. It ends with the twin's end of the socket; its forks get SIGTERM when it
dies, whatever kills it, as a replica does whose twin is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from headrace.local.template.wire import LARGEST, Ended, Fork, Forked, Imported, Refused, decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.local.template.wire import Message

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_STANDARD_STREAMS = (1, 2)


def main() -> None:
    """Run until the twin closes its end; in a fork, run what the fork is for."""
    number, *what = sys.argv[1:]
    with socket.socket(fileno=int(number)) as twin:
        began = time.monotonic()
        run, reason = _imported(*what)
        _tell(twin, Refused(reason) if run is None else Imported(time.monotonic() - began))
        if run is None or not _forks(twin):
            return
    # Here only in a fork, and outside of all that the template was doing.
    run()


def _imported(preloading: str, module: str, *classes: str) -> tuple[Callable[[], Any] | None, str]:
    try:
        run: Callable[[], Any] = importlib.import_module(module).main
        importlib.import_module(preloading).preload(classes)
    except (Exception, SystemExit) as fault:  # noqa: BLE001  # a user's code raises anything; the twin is to know
        return None, f"{type(fault).__name__}: {fault}"
    if reason := _unsafe():
        return None, reason
    # What is imported stays: the collector of a fork would touch, and so copy, every page of it.
    gc.collect()
    gc.freeze()
    return run, ""


def _unsafe() -> str:
    """Why this process cannot be forked; empty where it can."""
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        return f"importing the code started threads ({', '.join(others)}), which a fork would lack"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "importing the code initialised CUDA, which no fork can use"
    return ""


def _forks(twin: socket.socket) -> bool:
    """Fork as told. True in a fork; False once the twin has closed its end."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as selector:
        selector.register(twin, selectors.EVENT_READ)
        selector.register(reading, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if reading in ready:
                os.read(reading, 4096)
                _tell_of_ends(twin)
            if twin.fileno() in ready:
                packet, descriptors, _, _ = socket.recv_fds(twin, LARGEST, 1)
                if not packet:
                    return False
                if _fork(twin, decoded(packet), descriptors[0]):
                    os.close(writing)
                    os.close(reading)
                    return True


def _fork(twin: socket.socket, request: Fork, output: int) -> bool:
    template = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(request, output, template)
        return True
    os.close(output)
    _tell(twin, Forked(request.number, pid))
    return False


def _become(request: Fork, output: int, template: int) -> None:
    """Be what the request says, as far as a started process would: session, streams, environment, folder, signals."""
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != template:  # it died before the line above
        os._exit(1)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for stream in _STANDARD_STREAMS:
        os.dup2(output, stream)
    os.close(output)
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.cwd)
    sys.argv = [request.argv[2], *request.argv[3:]]  # behind `python -m`
    sys.orig_argv = list(request.argv)
    # Python's own generator is seeded anew in each fork; numpy's is not, and forks would draw the same numbers.
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def _tell_of_ends(twin: socket.socket) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            _tell(twin, Ended(pid, os.waitstatus_to_exitcode(status)))


def _tell(twin: socket.socket, message: Message) -> None:
    with contextlib.suppress(OSError):  # the twin is gone, and so is this process with the next packet
        twin.send(encoded(message))


if __name__ == "__main__":
    main()
