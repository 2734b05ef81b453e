"""Model servers that are there for one replay alone: started before it, gone after it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from headrace.errors import ModelLoadError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from headrace.eventing.replay.plan import ServedModel

START = 600.0
"""Seconds that a model may take to load."""
GRACE = 35.0
"""Seconds after which a server that was told to end is killed: five more than its own grace."""
GLANCE = 0.1


@contextmanager
def served(model: ServedModel, folder: Path) -> Iterator[str]:
    """Run the model, and its transformer where it has one; the URL that takes events.

    Args:
        model: What to serve.
        folder: Where the servers' logs go.

    Raises:
        ModelLoadError: a class or its weights cannot be loaded; the message has the server's last lines.
        UnavailableError: it is not ready after ten minutes.
    """
    with ExitStack() as stack:
        weights = ("--model", model.uri) if model.uri else ()
        variables = dict(model.environment)
        url = stack.enter_context(_server("predictor", folder, variables, "--class", model.predictor, *weights))
        if model.transformer:
            beside = url.removeprefix("http://")
            url = stack.enter_context(
                _server("transformer", folder, variables, "--class", model.transformer, "--predictor-host", beside)
            )
        yield f"{url}/"


@contextmanager
def _server(part: str, folder: Path, variables: Mapping[str, str], *arguments: str) -> Iterator[str]:
    place = ("--host", "127.0.0.1", "--http-port", "0", "--enable-grpc", "false")
    log = folder / f"{part}.log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "headrace.cli.main", "serve", "--name", "replay", *place, *arguments]
        environment = {**os.environ, **variables}
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)  # noqa: S603  # the user's own class
    try:
        yield _ready(part, process, log)
    finally:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(part: str, process: subprocess.Popen[bytes], log: Path) -> str:
    ends = time.monotonic() + START
    while time.monotonic() < ends:
        said = log.read_text(errors="replace")
        address = re.search(r"listening on (http://\S+:\d+)", said)
        if address and re.search(r"model \S+ ready", said):
            return address[1]
        if process.poll() is not None:
            reason = said.strip().splitlines()[-1:] or ["it said nothing"]
            raise ModelLoadError(f"The {part} of this replay did not start: {reason[0]}", hint=f"its log is {log}")
        time.sleep(GLANCE)
    raise UnavailableError(f"The {part} of this replay is not ready after {START:g} s", hint=f"its log is {log}")
