"""`headrace up` follows the user's files while events come."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headrace.testing.app import AppRunner, running_app, until

if TYPE_CHECKING:
    from collections.abc import Iterator

WARMTH = Path(__file__).parents[2] / "examples" / "warmth"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's folder: the README's example."""
    return Path(shutil.copytree(WARMTH, tmp_path / "project"))


@pytest.fixture
def app(project: Path, tmp_path: Path) -> Iterator[AppRunner]:
    """It is up."""
    home = tmp_path / "home"
    home.mkdir()
    with running_app(project / "headrace.yaml", home) as running:
        yield running


def said(app: AppRunner, words: str) -> bool:
    """Whether `up` has printed this."""
    return words in (app.home / "up.log").read_text()


def readies(app: AppRunner) -> int:
    """How many predictors have got ready."""
    lines = (app.home / "up.log").read_text().splitlines()
    return sum(line.startswith("warmth-predictor-") and "is ready" in line for line in lines)


def label(app: AppRunner, picture: Path, topic: str = "photos.warmth") -> str:
    """What a picture published now is answered."""
    (event,) = app.publish("photos", picture).values()
    answer = app.answers(topic, event)[event].data or b""
    return str(json.loads(answer)["predictions"][0]["label"])


def edit(path: Path, old: str, new: str) -> None:
    """As an editor writes: another file in the place of the old."""
    text = path.read_text()
    assert old in text
    draft = path.with_suffix(".draft")
    draft.write_text(text.replace(old, new))
    draft.replace(path)


def test_code_and_spec_are_followed(app: AppRunner, project: Path, pictures: dict[str, Path]) -> None:
    """Changed code answers the next events; a mistake is named and what ran goes on; another spec is another app."""
    coffee = pictures["coffee.png"]
    assert label(app, coffee) == "warm"
    edit(project / "transformer.py", '"warm"', '"hot"')
    until(lambda: said(app, "warmth-transformer-2 is ready"), "the new code is ready")
    assert label(app, coffee) == "hot"

    edit(project / "transformer.py", "class ", "clas ")
    until(lambda: said(app, "transformer.py, line"), "the mistake is named")
    edit(project / "headrace.yaml", "results:", "resuls:")
    until(lambda: said(app, "resuls: unknown key"), "the other one too")
    assert label(app, coffee) == "hot"

    edit(project / "transformer.py", "clas ", "class ")
    edit(project / "headrace.yaml", "resuls: {topic: photos.warmth}", "results: {topic: photos.heat}")
    before = app.state()
    until(lambda: said(app, "-> photos.heat"), "the app starts anew")
    assert label(app, coffee, "photos.heat") == "hot"
    after = app.state()
    assert (after["kafka"], after["ingress"]) == (before["kafka"], before["ingress"])


def test_code_that_does_not_load_replaces_nothing(app: AppRunner, project: Path, pictures: dict[str, Path]) -> None:
    """The replicas that run stay until others are ready; the error is named."""
    coffee = pictures["coffee.png"]
    assert label(app, coffee) == "warm"
    edit(project / "predictor.py", "import torch\n", "import torch\nimport nowhere_at_all\n")
    until(lambda: said(app, "No module named 'nowhere_at_all'"), "the error is named")
    assert label(app, coffee) == "warm"
    edit(project / "predictor.py", "import nowhere_at_all\n", "")
    until(lambda: readies(app) == 2, "the mended code is ready")
    assert label(app, coffee) == "warm"
