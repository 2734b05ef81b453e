"""``docs/cluster.md`` shows every option of the commands, and none that is not there."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
import typer

PAGE = (Path(__file__).parents[2] / "docs/cluster.md").read_text(encoding="utf-8")


def shown(name: str) -> set[str]:
    """The long options of a command in the page's synopsis; -f and -n stand for --file and --namespace."""
    synopsis = re.sub(r"\n {8,}", " ", PAGE.split("\n\n")[1])
    (line,) = [each for each in synopsis.splitlines() if each.split()[:2] == ["headrace", name]]
    short = {"-f": "--file", "-n": "--namespace"}
    words = re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", line)
    return {short.get(word, word) for word in words}


def known(name: str) -> set[str]:
    """The long options that a command takes."""
    app = typer.Typer()
    app.command()(getattr(import_module(f"headrace.cli.{name}"), name))
    command = typer.main.get_command(app)
    options = [each for each in command.params if each.param_type_name == "option"]
    return {word for each in options for word in (*each.opts, *each.secondary_opts) if word.startswith("--")}


@pytest.mark.parametrize("name", ["doctor", "deploy", "status", "rollback", "delete"])
def test_the_synopsis_is_true(name: str) -> None:
    """Both ways: nothing is promised that is not there, and nothing is there that is not told."""
    hidden = {"--prune", "--help", "--install-completion", "--show-completion"}
    assert shown(name) - hidden == known(name) - hidden
