"""A dispatcher's stand-in: says where its sink is, and takes its time to end.

JOURNAL: a file to which it writes what it lives through. DRAIN: seconds between SIGTERM and the end; within them it
asks its sink once. FAIL: exits with 1 at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.request
from pathlib import Path


def journal(what: str) -> None:
    with Path(os.environ["JOURNAL"]).open("a") as file:
        file.write(f"{os.environ['HOSTNAME']} {what}\n")


def main() -> None:
    # Waited for, not handled: a handler that sets an Event deadlocks where it comes in the middle of its wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    journal("start " + json.dumps({"argv": sys.argv[1:], "env": dict(os.environ), "pid": os.getpid()}))
    if "FAIL" in os.environ:
        sys.exit("nothing to work on")
    signal.sigwait({signal.SIGTERM})
    journal("SIGTERM")
    if "DRAIN" in os.environ:
        with urllib.request.urlopen(f"{os.environ['K_SINK']}/?delay={os.environ['DRAIN']}") as answer:
            journal(f"sink {answer.status}")
    journal("end")


main()
