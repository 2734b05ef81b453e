"""The page as a browser shows it: what a headless Chromium paints, and what stands in the page without one."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from headrace.eventing.comparison.answers import Answer
from headrace.eventing.comparison.page import Step, page
from headrace.eventing.comparison.plots import CELLS, histograms, matrix
from headrace.eventing.comparison.report import Report, compare

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
BAR = (0x2F, 0x6F, 0x8F)
OTHER = (0xC9, 0x8A, 0x2B)
"""Colours of A's and B's bars."""


def report() -> Report:
    """Forty answers with vectors and classes, some of which flipped, and their times."""
    pairs = []
    for number in range(40):
        one = {"label": "ham" if number % 4 else "spam", "embedding": [1.0, number / 40]}
        other = {"label": "ham", "embedding": [1.0, number / 39]}
        times = (10.0 + number, 20.0 + 2 * number)
        pairs.append(
            (
                Answer(str(number), one, elapsed=times[0], trace=f"a{number}", finished=float(number)),
                Answer(str(number), other, elapsed=times[1], trace=f"b{number}", finished=float(number)),
            )
        )
    return compare(pairs, names=("fp32", "bf16"))


def way(identifier: str) -> Sequence[Step]:
    """The trace of B's answers."""
    if not identifier.startswith("b"):
        return ()
    return (Step(0, "replay <calls>", 0.0, 10.0), Step(1, "infer", 4.0, 5.0, failed=True))


def svgs(text: str) -> list[ET.Element]:
    """The drawings in a page: each must be XML of its own."""
    return [ET.fromstring(f"<svg{part.partition('</svg>')[0]}</svg>") for part in text.split("<svg")[1:]]


def test_the_page_draws_what_the_report_says() -> None:
    """Bars of differences, cosines and both sides' times, a matrix of flips, both answers and the way of an example."""
    text = page(report(), trace=way)
    drawn = {one.get("aria-label"): one for one in svgs(text)}
    assert set(drawn) == {"differences", "cosines", "milliseconds", "flips from fp32 to bf16"}
    times = drawn["milliseconds"]
    for place in (0, 1):
        bars = [one for one in times.iter("rect") if one.get("class") == f"set{place}"]
        assert sum(int(bar.findtext("title") or 0) for bar in bars) == 40
    (cell,) = drawn["flips from fp32 to bf16"].iter("rect")
    assert cell.findtext("title") == "spam → ham: 10"
    for said in (
        "replay &lt;calls&gt;",
        "left:40.00%;width:50.00%",
        "trace b39",
        "&#x27;label&#x27;: &#x27;spam&#x27;",
    ):
        assert said in text, said
    assert "trace a39" not in text, "where a way is not known, none is drawn"


def test_a_matrix_has_the_classes_with_the_most_flips() -> None:
    """However many classes there are; names that are long are cut, and from outside they are text."""
    confusion = {(f"<class {n}> of a long name", f"c{n}"): n for n in range(1, 40)}
    drawing = ET.fromstring(matrix(confusion, ("a", "b")))
    assert len(list(drawing.iter("rect"))) == CELLS
    assert "39" in [one.text for one in drawing.iter("text")]
    assert matrix({}, ("a", "b")) == histograms([("a", []), ("b", [float("nan")])], "x") == ""


def test_a_browser_paints_the_bars(tmp_path: Path) -> None:
    """Seen in a headless Chromium: bars of both sides, in their colours, and no request for anything else."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium is installed here")
    seen = pixels(browser, page(report(), trace=way), tmp_path)
    assert seen[BAR] > 2000
    assert seen[OTHER] > 1000


def pixels(browser: str, text: str, folder: Path) -> dict[tuple[int, int, int], int]:
    """How often each colour stands on the page, as the browser paints it."""
    from PIL import Image  # noqa: PLC0415  # where a browser is

    (folder / "page.html").write_text(text, encoding="utf-8")
    shot = folder / "page.png"
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1000,4000"),
        *(f"--user-data-dir={folder}/profile", f"--screenshot={shot}", (folder / "page.html").as_uri()),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    with Image.open(shot) as picture:
        found = picture.convert("RGB").getcolors(1 << 24) or []
    return {colour: count for count, colour in found if isinstance(colour, tuple)}
