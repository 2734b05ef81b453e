"""The program of the tests' replicas: says what it is, then does what `DO` tells it."""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    """Say one line of facts; then end as `DO` says: a number, a signal's name, or `wait` until SIGTERM."""
    todo = os.environ.get("DO", "0")
    if todo == "wait":  # before it says anything: whoever hears it may end it at once
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
    numpy = sys.modules.get("numpy")
    facts = {
        "argv": sys.argv,
        "words": sys.orig_argv[1:],
        "cwd": str(Path.cwd()),
        "said": os.environ.get("SAID"),
        "session": os.getsid(0) == os.getpid(),
        "parent": os.getppid(),
        "drawn": numpy.random.random() if numpy else None,
        "heavy": "kserve" in sys.modules,
        "input": sys.stdin.read(),
    }
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
    if todo == "wait":
        while True:
            time.sleep(60)
    if todo.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[todo])
    sys.exit(int(todo))


def preload(classes: tuple[str, ...]) -> None:
    """Import the model's file, and nothing of what serving it would need."""
    for target in classes:
        runpy.run_path(target.partition(":")[0])


if __name__ == "__main__":
    main()
