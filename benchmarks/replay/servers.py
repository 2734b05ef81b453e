"""The model servers that both ways ask."""

from __future__ import annotations

import re
import time
from pathlib import Path

from benchmarks.eventing.processes import Processes

ECHO = Path(__file__).parents[1] / "eventing" / "echo.py"
START = 300.0
"""Seconds for a model to load."""
GLANCE = 0.1


class Servers:
    """One model at a time, alone or behind its transformer.

    Args:
        folder: Where the logs are written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes = Processes(folder)

    def echo(self) -> str:
        """Start the echo; its URL."""
        return f"{self._serve('predictor', '--class', f'{ECHO}:Echo')}/"

    def minilm(self) -> str:
        """Start MiniLM behind its transformer; the transformer's URL."""
        predictor = self._serve("predictor", "--class", "headrace.predictors.minilm:MiniLM")
        words = ("--class", "headrace.transformers.text:TextTransformer", "--predictor-host")
        return f"{self._serve('transformer', *words, predictor.removeprefix('http://'))}/"

    def cpu(self) -> float:
        """Seconds of CPU that they have used."""
        return self._processes.cpu()

    def stop(self) -> None:
        """End them."""
        self._processes.stop()

    def _serve(self, name: str, *words: str) -> str:
        place = ("--name", "model", "--host", "127.0.0.1", "--http-port", "0", "--enable-grpc", "false")
        self._processes.start(name, ["-m", "headrace.cli.main", "serve", *place, *words])
        log, end = self._folder / f"{name}.log", time.monotonic() + START
        while time.monotonic() < end:
            said = log.read_text(errors="replace")
            address = re.search(r"listening on (http://\S+:\d+)", said)
            if address and re.search(r"model \S+ ready", said):
                return address[1]
            self._processes.check()
            time.sleep(GLANCE)
        raise SystemExit(f"{name} is not ready after {START:g} s")
