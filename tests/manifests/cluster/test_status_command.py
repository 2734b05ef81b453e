"""``headrace status``: of the twin as before, of a cluster with ``--cluster``."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from headrace.cli import status as command
from headrace.local.status import TwinStatus, WorkloadStatus

if TYPE_CHECKING:
    import pytest


def printed(problem: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is shown of a twin whose dispatcher died with these last words."""
    workload = WorkloadStatus("default", "echo-dispatcher", "restarting", None, 2, problem)
    found = TwinStatus("http://127.0.0.1:1", "127.0.0.1:2", "http://127.0.0.1:3", (), (workload,), ())

    class Home:
        ingress = found.ingress
        traces = "none"

    async def fetched(ingress: str) -> TwinStatus:
        assert ingress == found.ingress
        return found

    monkeypatch.setattr(command, "running_twin", Home)
    monkeypatch.setattr(command, "fetch", fetched)
    out = io.StringIO()
    with redirect_stdout(out):
        command.status()
    return out.getvalue()


def test_square_brackets_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process's last words are no markup: nothing of them is swallowed, and none is a wrong tag."""
    problem = "KeyError: ['a'] not in [red]index[/red] [/bold]"
    assert problem in printed(problem, monkeypatch)
