"""The walk-through of a replay is true: its commands run as they stand there, in order, as far as a laptop goes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.eventing.comparison.test_page import BAR, BROWSERS, pixels

from headrace.testing.app import AppRunner, running_app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "walkthrough-replay.md").read_text(encoding="utf-8")
MAILS = {
    "easy-ham-1": "Subject: build {0}\n\nHi Anna, the build {0} fails on two tests. Could you look? Thanks, Ben",
    "spam-1": "Subject: You won {0}\n\nCongratulations! You have won {0} dollars. Click to claim FREE money!!!",
}
EACH = 5
PATIENCE = 400.0
"""Seconds until all mails have their verdicts, on a machine that does other things."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def commands(heading: str) -> list[str]:
    """The commands of a section; a continued line is one command."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = "\n".join(re.findall(r"```console\n(.*?)```", section, flags=re.DOTALL)).replace("\\\n", "")
    return [line[2:].split("  #")[0].strip() for line in blocks.splitlines() if line.startswith("$ ")]


def run(line: str, folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """A line of the page in a shell."""
    line = line.replace(".venv/bin/headrace", f"{sys.executable} -m headrace.cli.main")
    line = line.replace(".venv/bin/python scripts/", f"{sys.executable} {ROOT}/scripts/")
    environment = {**os.environ, "HEADRACE_HOME": str(home)}
    command = ["bash", "-c", line]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def succeed(line: str, folder: Path, home: Path) -> str:
    """The same, which must not fail."""
    done = run(line, folder, home)
    assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the mails' package was unpacked: a few of its kind."""
    for group, text in MAILS.items():
        (tmp_path / "package" / "data" / group).mkdir(parents=True)
        for number in range(EACH):
            mail = json.dumps({"text": text.format(number)})
            (tmp_path / "package" / "data" / group / f"{number}.json").write_text(mail)
    return tmp_path


def test_the_walk_through(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Stream, publish, record, replay through the new model, compare, gate: as the page says."""
    home = tmp_path_factory.mktemp("home")
    pack, stream, up, publish, audit = commands("A week of mails")
    (record,), (replay,), (classes, vectors), (gate,) = map(
        commands, ("Keep it", "Through the new model", "What changed", "The gate")
    )
    assert pack.startswith("npm pack")
    assert up.endswith("up -f examples/text/headrace.yaml")
    assert f"{2 * EACH} events for mails" in succeed(stream, folder, home)
    with running_app(ROOT / "examples" / "text" / "headrace.yaml", home) as app:
        succeed(publish, folder, home)
        all_answered(app, audit, folder)
        assert f"{2 * EACH} events of mails" in succeed(record, folder, home)
        assert f"{2 * EACH} answered, 0 failed" in succeed(replay, folder, home)
        assert f"{2 * EACH} events answered by both" in succeed(classes, folder, home)
        assert "smallest cosine 0.99" in succeed(vectors, folder, home)
        assert "met      flips<=2%: 0" in succeed(gate, folder, home)
        strict = run(f'{classes} --gate "cosine>1"', folder, home)
        assert (strict.returncode, "NOT MET  cosine>1" in strict.stdout) == (1, True), strict.stderr
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert 'aria-label="cosines"' in page
    if browser := next(filter(None, map(shutil.which, BROWSERS)), None):
        assert pixels(browser, page, folder)[BAR] > 500, "the plots are seen in a browser"


def all_answered(app: AppRunner, audit: str, folder: Path) -> None:
    """Until every mail has its verdict."""
    deadline = time.monotonic() + PATIENCE
    while f"{2 * EACH} answers" not in (said := run(audit, folder, app.home)).stdout:
        assert time.monotonic() < deadline, said.stdout + said.stderr
        time.sleep(0.5)


def test_the_roll_out_is_what_the_page_says(tmp_path: Path) -> None:
    """The canary's share and the new variable are in the manifests, which our lint takes; the rest needs a cluster."""
    part = yaml.safe_load(PAGE.split("```yaml\n")[1].split("```")[0])
    document: dict[str, Any] = yaml.safe_load((ROOT / "examples/text/headrace.yaml").read_text())
    document["spec"]["predictor"] |= part["spec"]["predictor"]
    document["spec"]["rollout"] = part["spec"]["rollout"]
    (tmp_path / "headrace.yaml").write_text(yaml.safe_dump(document))
    render, lint, diff, deploy = commands("Roll it out")
    succeed(render, tmp_path, tmp_path)
    written = "\n".join(file.read_text() for file in (tmp_path / "manifests").rglob("*.yaml"))
    assert "canaryTrafficPercent: 10" in written
    assert "HEADRACE_AUTOCAST" in written
    succeed(lint, tmp_path, tmp_path)
    assert (diff.split()[1:], deploy.split()[1:]) == (["deploy", "--diff"], ["deploy"])
