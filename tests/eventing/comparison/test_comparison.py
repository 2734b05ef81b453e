"""What two sets of answers to the same events show: kinds of difference, report, gate, page, and the command."""

from __future__ import annotations

from contextlib import closing
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cli.main import main
from headrace.errors import ConfigurationError
from headrace.eventing.codec import json_format
from headrace.eventing.comparison.answers import Answer
from headrace.eventing.comparison.difference import Tolerance, cosine, difference
from headrace.eventing.comparison.gate import parse_gate
from headrace.eventing.comparison.join import AFTER, BEFORE, Answers
from headrace.eventing.comparison.page import page
from headrace.eventing.comparison.plots import histogram
from headrace.eventing.comparison.report import Report, compare, quantile
from headrace.eventing.event import new_event

if TYPE_CHECKING:
    from pathlib import Path

CLOSE = Tolerance(absolute=1e-6, relative=1e-3)


def kind(before: Any, after: Any) -> str:
    """How two values differ."""
    return difference(Answer("1", before), Answer("1", after), CLOSE).kind


def label(name: str, score: float, *others: tuple[str, float]) -> dict[str, Any]:
    """A classifier's answer."""
    ranked = [{"label": n, "confidence": s} for n, s in ((name, score), *others)]
    return {"predictions": [{"label": name, "confidence": score, "labels": ranked}]}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 1}, "same"),
        ({"a": 1.0}, {"a": 1.0001}, "close"),
        ({"a": 1.0}, {"a": 1.1}, "changed"),
        ({"a": 1}, {"a": 1, "b": 2}, "changed"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], "changed"),
        ({"a": True}, {"a": False}, "changed"),
        ({"a": True}, {"a": 1}, "changed"),
        ("a text", "a text", "same"),
        ("a text", "another", "changed"),
        (b"\x00", b"\x01", "changed"),
        (float("nan"), float("nan"), "close"),
        (float("inf"), 1.0, "changed"),
        (label("cat", 0.9), label("cat", 0.9002), "close"),
        (label("cat", 0.9), label("cat", 0.5), "changed"),
        (label("cat", 0.6), label("dog", 0.5), "flip"),
        (label("cat", 0.9, ("dog", 0.08), ("cow", 0.01)), label("cat", 0.9, ("cow", 0.01), ("dog", 0.08)), "same"),
    ],
)
def test_kinds(before: Any, after: Any, expected: str) -> None:
    """By what the answers hold: near numbers are close, another first class is a flip, all else changed."""
    assert kind(before, after) == expected


def test_failures_are_no_answers() -> None:
    """What fails now is broken, what failed before is mended, and the same failure is the same, whatever its words."""
    answer, failed = Answer("1", {"a": 1}), Answer("1", {"code": "permanent", "detail": "x"}, failed=True)
    again = Answer("1", {"code": "permanent", "detail": "other words"}, failed=True)
    assert [difference(a, b, CLOSE).kind for a, b in ((answer, failed), (failed, answer), (failed, again))] == [
        "broken",
        "mended",
        "same",
    ]


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_a_vector_is_as_its_double(vector: list[float]) -> None:
    """The cosine tells direction and not length."""
    assert cosine(vector, [2 * x for x in vector]) == pytest.approx(1.0)


def test_vectors_are_compared_by_cosine_and_numbers() -> None:
    """The smallest cosine of an answer's vectors, the largest difference of numbers, where structure differs."""
    before, after = {"e": [1.0, 0.0], "x": 1}, {"e": [0.0, 1.0], "y": 1}
    found = difference(Answer("1", before), Answer("1", after), CLOSE)
    assert (found.cosine, found.most, found.notes) == (0.0, 1.0, ("$.x", "$.y"))


def test_runners_up_are_compared_as_a_set() -> None:
    """Whom both name, and by how much their scores moved."""
    before, after = label("cat", 0.9, ("dog", 0.08)), label("cat", 0.9, ("cow", 0.05))
    assert difference(Answer("1", before), Answer("1", after), CLOSE).overlap == 0.5


def sets() -> Report:
    """Four events: the same, a flip, one that A alone has, one that B alone has."""
    before = {r: Answer(r, label("cat", 0.9), elapsed=10.0, trace=f"t{r}") for r in ("1", "2", "3")}
    after = {
        "1": Answer("1", label("cat", 0.9), elapsed=20.0),
        "2": Answer("2", label("<dog>", 0.6), elapsed=400.0, trace="u2"),
        "4": Answer("4", label("cat", 0.9), elapsed=30.0),
    }
    pairs = ((before.get(request), after.get(request)) for request in sorted(before.keys() | after.keys()))
    return compare(pairs, names=("old", "new"))


def test_the_report_counts() -> None:
    """Joined by the event that was answered; the worst come first, with their traces."""
    report = sets()
    assert (report.both, report.only, report.share("flip")) == (2, (1, 1), 0.5)
    assert report.confusion == {("cat", "<dog>"): 1}
    assert report.differences[0].request == "2"
    assert report.examples["2"].traces == ("t2", "u2")
    assert (report.latency[0].p99, report.latency[1].p50, report.latency[1].most) == (10.0, 30.0, 400.0)
    assert report.facts()["counts"]["flip"] == 1


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_quantiles_are_values_that_came(values: list[float]) -> None:
    """The nearest rank: never a value in between, and the last for all of them."""
    values.sort()
    assert quantile(values, 0.5) in values
    assert quantile(values, 1.0) == values[-1]


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("flips<=50%", True),
        ("flips<0.5%", False),
        ("p99<0.5s, p50<100ms", True),
        ("p99<200ms", False),
        ("missing=0", False),
        ("difference<0.4", True),
        ("cosine>0.99", False),
    ],
)
def test_gates(text: str, met: bool) -> None:  # a table's column
    """Shares in per cent, times in ms or s; what nobody measured meets nothing."""
    assert all(condition.met(sets()) for condition in parse_gate(text)) is met


@pytest.mark.parametrize("text", ["flips", "speed<3", "flips<0.5%,,what?", "", "p99<fast"])
def test_gates_that_cannot_be_read(text: str) -> None:
    """Named with what can be asked: a gate that was misspelt must not let everything through."""
    with pytest.raises(ConfigurationError, match="flips, changed, broken"):
        parse_gate(text)


class Tags(HTMLParser):
    """Keeps what a page opens and says."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """A tag opens."""
        self.tags.append(tag)
        assert not any(value and value.startswith(("http", "//")) for _, value in attrs), "it needs nothing else"

    def handle_data(self, data: str) -> None:
        """Text."""
        self.text += data


def test_the_page_shows_the_report_and_needs_nothing_else() -> None:
    """Flips, plots, worst and slowest with their traces; names from outside are text, never tags."""
    read = Tags()
    read.feed(page(sets(), parse_gate("flips<0.5%")))
    assert {"svg", "table", "style"} <= set(read.tags)
    assert "script" not in read.tags
    assert "dog" not in read.tags
    for said in ("new against old", "<dog>", "not met", "flips<0.5%: 0.5", "t2 / u2", "400 ms"):
        assert said in read.text


def test_a_histogram_of_nothing_is_nothing() -> None:
    """Infinite values have no place in it, and one value makes one bar."""
    assert histogram([], "x") == ""
    assert histogram([float("inf")], "x") == ""
    assert histogram([3.0], "x").count("<title>1</title>") == 1


def answer(request: str, name: str, run: str = "") -> Any:
    """A result's event."""
    attributes = {"specversion": "1.0", "id": f"{request}{run}", "source": "/s", "type": "t", "causationid": request}
    marked = {**attributes, "hrreplay": run} if run else attributes
    return new_event({**marked, "datacontenttype": "application/json"}, orjson.dumps(label(name, 0.5)))


def test_the_last_answer_counts_and_a_run_can_be_chosen() -> None:
    """Two runs in one topic are told apart by ``hrreplay``."""
    events = [
        answer("1", "cat", "r1"),
        answer("1", "dog", "r2"),
        new_event(dict(answer("1", "x").attributes) | {"causationid": ""}),
    ]
    with closing(Answers()) as answers:
        answers.add(BEFORE, events)
        answers.add(AFTER, events, "r1")
        ((last, of_run),) = answers.pairs()
    assert last is not None
    assert of_run is not None
    assert (last.value, of_run.value) == (label("dog", 0.5), label("cat", 0.5))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two files: the table, JSON, the page, and the exit code of the gate."""
    for name, labels in (("a", ("cat", "dog")), ("b", ("cat", "cow"))):
        lines = [json_format.dump_event(answer(str(n), text)) for n, text in enumerate(labels)]
        (tmp_path / f"{name}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    files = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]

    def diff(*more: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["diff", *files, *more])
        written = capsys.readouterr()
        return int(ended.value.code or 0), written.out + written.err

    code, said = diff("--html", str(tmp_path / "d.html"))
    assert code == 0
    assert "1 x  dog -> cow" in said
    assert "</html>" in (tmp_path / "d.html").read_text(encoding="utf-8")
    code, said = diff("--gate", "flips<1%", "--output", "json")
    assert (code, orjson.loads(said)["gate"][0]["met"]) == (1, False)
    assert diff("--gate", "flips<=50%")[0] == 0
    code, said = diff("--gate", "flip<1%")
    assert (code, "Traceback" in said) == (2, False)
    files[1] = str(tmp_path / "none.jsonl")
    code, said = diff()
    assert (code, "Cannot read" in said) == (2, True)
