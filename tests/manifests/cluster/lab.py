"""A folder with an app, a cluster behind a real socket, and the commands as a user runs them there."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from headrace.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.testing.cluster.server import ApiServer

TOKEN = "top-secret-token"
IMAGE = ("--image", "registry.lab/headrace:1")


@dataclass(frozen=True)
class Done:
    """What a command did."""

    returncode: int
    stdout: str
    stderr: str


class Lab:
    """A folder with an app, and a cluster to deploy it to."""

    def __init__(self, folder: Path, server: ApiServer, document: Callable[..., dict[str, Any]]) -> None:
        self.folder = folder
        self.server = server
        self._document = document
        self.kubeconfig = server.kubeconfig(folder / "kubeconfig", token=TOKEN)
        server.call(self._furnish)
        self.write()

    def _furnish(self) -> None:
        self.server.controllers.ignore("Kafka")
        about = {"name": "kafka", "namespace": "kafka"}
        status = {"conditions": [{"type": "Ready", "status": "True"}]}
        self.server.store.put(
            {"apiVersion": "kafka.strimzi.io/v1", "kind": "Kafka", "metadata": about, "spec": {}, "status": status},
        )

    def write(self, **spec: Any) -> None:
        """The app's file."""
        (self.folder / "headrace.yaml").write_text(yaml.safe_dump(self._document(spec=spec)))

    def run(self, *words: str) -> Done:
        """What ``headrace WORDS`` does in the folder."""
        printed, said = io.StringIO(), io.StringIO()
        code: int | str | None = 0
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            try:
                main(words)
            except SystemExit as end:
                code = end.code
        return Done(int(code or 0), printed.getvalue(), said.getvalue())

    def succeed(self, *words: str) -> str:
        """What ``headrace WORDS`` prints."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fail(self, *words: str, code: int = 1) -> str:
        """What ``headrace WORDS`` says when it fails: no traceback and no secret."""
        done = self.run(*words)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        assert TOKEN not in done.stderr + done.stdout
        return done.stderr
