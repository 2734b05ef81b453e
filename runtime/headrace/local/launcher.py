"""Become another program that ends when its parent does.

Run as a script of its own (``python -I -S launcher.py PARENT-PID COMMAND...``), not imported: what it does stands
between the fork and the program, and the twin has threads, so that nothing may run there but an ``exec``.
"""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_NOT_FOUND = 127  # as a shell


def main(parent: int, command: list[str]) -> None:
    """Ask Linux for SIGTERM at the parent's death, also by ``kill -9``, then run ``command`` in this process."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - only there

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming that program is the purpose
    except OSError as fault:
        sys.stderr.write(f"cannot run {command[0]!r}: {fault.strerror}\n")
        sys.exit(_NOT_FOUND)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
