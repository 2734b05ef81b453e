"""Commands of a small program, and the two ways of making a process of it."""

from __future__ import annotations

import json
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.local.conftest import lines

from headrace.local.children import Started
from headrace.local.commands import Command
from headrace.local.logs import LogFile
from headrace.local.processes import Process
from headrace.local.template.template import Template

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headrace.local.children import Origin

MODEL = """
from kserve import Model as Base
class Model(Base):
    pass
"""


def command(*words: str, **environment: str) -> Command:
    """Runs `forkable` as `headrace serve` would be run."""
    inherited = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONUNBUFFERED": "1"}
    argv = (sys.executable, "-m", "forkable", "serve", "--class", "model.py:Model", *words)
    return Command(argv, {**inherited, **environment})


@dataclass(frozen=True)
class Making:
    """An origin in use, and what it said."""

    origin: Origin
    folder: Path
    log: LogFile
    notes: list[str] = field(default_factory=list)

    async def start(self, *words: str, **environment: str) -> Process:
        """A process of it."""
        return await Process.start(
            "one", command(*words, **environment), cwd=self.folder, log=self.log, origin=self.origin
        )

    @property
    def template(self) -> Template:
        """The origin, where it is one."""
        assert isinstance(self.origin, Template)
        return self.origin

    def facts(self) -> list[dict[str, Any]]:
        """What the processes have said of themselves."""
        return [json.loads(line.partition(" | ")[2]) for line in lines(self.folder / "log") if "{" in line]


@asynccontextmanager
async def making(
    folder: Path, kind: str = "template", model: str = "", preloading: str = "forkable"
) -> AsyncIterator[Making]:
    """An origin of this kind, with a file of the user's that reads `model`."""
    (folder / "model.py").write_text(model)
    log = LogFile(folder / "log", max_bytes=1 << 20)
    notes: list[str] = []
    template = Template("template", command(), cwd=folder, log=log, note=notes.append, preloading=preloading)
    if kind == "template":
        await template.open()
    try:
        yield Making(template if kind == "template" else Started(), folder, log, notes)
    finally:
        await template.close()
        log.close()
