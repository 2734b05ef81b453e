"""Comparers by the model's kind, what answers cost, and answers that do not fit into memory."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from headrace.cli.main import main
from headrace.eventing.codec import json_format
from headrace.eventing.comparison.answers import Answer
from headrace.eventing.comparison.cost import Pricing, busy_seconds
from headrace.eventing.comparison.difference import Difference, Rule, Tolerance, difference, similarity
from headrace.eventing.comparison.join import AFTER, BEFORE, Answers
from headrace.eventing.comparison.report import WORST, compare
from headrace.eventing.event import new_event
from headrace.telemetry.prices import Prices, Rates, ReplicaSize

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.eventing.event import CloudEvent

LOOSE = Tolerance(absolute=0.01, relative=0.0, cosine=0.99, top=2)


def differ(rule: Rule, before: Any, after: Any) -> Difference:
    """How two values differ by this rule."""
    return difference(Answer("1", before), Answer("1", after), LOOSE, rule)


def tensor(*data: float) -> dict[str, Any]:
    """An answer of the Open Inference Protocol."""
    return {"outputs": [{"name": "scores", "shape": [1, len(data)], "datatype": "FP32", "data": list(data)}]}


@pytest.mark.parametrize(
    ("rule", "before", "after", "expected"),
    [
        ("tensors", tensor(0.1, 0.9), tensor(0.105, 0.9), "close"),
        ("tensors", tensor(0.1, 0.9), tensor(0.3, 0.9), "changed"),
        ("tensors", tensor(0.1, 0.9), tensor(0.1, 0.9, 0.0), "changed"),
        ("tensors", {"label": "a"}, {"label": "b"}, "changed"),
        ("classes", tensor(0.1, 0.9), tensor(0.3, 0.7), "close"),
        ("classes", tensor(0.4, 0.6), tensor(0.6, 0.4), "flip"),
        ("classes", {"predictions": [[0.4, 0.6]]}, {"predictions": [[0.6, 0.4]]}, "flip"),
        ("classes", {"label": "a", "note": "x"}, {"label": "a", "note": "y"}, "close"),
        ("classes", {"label": "a", "vector": [0.4, 0.6]}, {"label": "a", "vector": [0.6, 0.4]}, "close"),
        ("embeddings", [1.0, 0.0], [0.999, 0.01], "close"),
        ("embeddings", [1.0, 0.0], [0.7, 0.7], "changed"),
        ("embeddings", {"label": "a", "v": [1.0, 0.0]}, {"label": "b", "v": [1.0, 0.0]}, "close"),
        ("json", {"a": 1, "b": "x", "c": None}, {"a": 2, "b": "y", "c": None}, "close"),
        ("json", {"a": 1}, {"a": "1"}, "changed"),
        ("json", {"a": 1, "b": True}, {"a": 1, "b": False}, "close"),
        ("json", {"a": [1]}, {"a": [1, 2]}, "changed"),
        ("text", "the water runs", "the water runs", "same"),
        ("text", "the water runs", "the water stands", "changed"),
        ("text", {"text": "x", "score": 0.1}, {"text": "x", "score": 0.9}, "close"),
    ],
)
def test_what_counts(rule: Rule, before: Any, after: Any, expected: str) -> None:
    """By the kind of model: what does not count is told as close, never as the same."""
    assert differ(rule, before, after).kind == expected


def test_the_first_few_classes_are_told() -> None:
    """Scores without names: the place is the class; who is among the first two is another matter than who is first."""
    found = differ("classes", tensor(0.6, 0.3, 0.1), tensor(0.6, 0.1, 0.3))
    assert (found.kind, found.overlap, found.flips) == ("close", 0.5, ())
    assert differ("classes", tensor(0.1, 0.9), tensor(0.9, 0.1)).flips == (("1", "0"),)


def test_texts_are_compared_by_their_words() -> None:
    """In order; a long one by its first thousand words."""
    assert similarity("the water runs to the mill", "the water runs to the mill") == 1.0
    assert similarity("a b c d", "a b x d") == 0.75
    assert similarity("word " * 50_000, "word " * 50_000) == 1.0
    assert differ("auto", "a b c d", "a b x d").similarity == 0.75


def test_busy_seconds_count_once() -> None:
    """What overlaps is one time; gaps are none."""
    assert busy_seconds([(0.0, 2.0), (1.0, 3.0), (1.5, 1.6), (5.0, 6.0)]) == 4.0
    assert busy_seconds([]) == 0.0


def test_answers_cost_what_their_seconds_cost() -> None:
    """The busy seconds of each side at the price of its replicas; a side that nobody measured costs nothing known."""
    prices = Prices("EUR", Rates(cpu_hour=3.6))
    one, two = Pricing(prices, ReplicaSize(cpu=1)), Pricing(prices, ReplicaSize(cpu=2), replicas=2)
    pairs = [
        (Answer(str(n), n, elapsed=1000.0, finished=float(n + 1)), Answer(str(n), n, elapsed=500.0, finished=float(n)))
        for n in range(10)
    ]
    report = compare(pairs, pricing=(one, two))
    a, b = report.cost
    assert a is not None
    assert b is not None
    assert a.currency == "EUR"
    assert [a.amount, a.per_thousand] == pytest.approx([0.01, 1.0])
    assert [b.amount, report.cost_ratio] == pytest.approx([0.02, 2.0])
    assert report.latency[0].rate == pytest.approx(1.0)
    assert compare([(Answer("1", 1), Answer("1", 1))], pricing=(one, two)).cost == (None, None)


def event(request: str, data: bytes, **more: str) -> CloudEvent:
    """An answer."""
    attributes = {"specversion": "1.0", "id": f"a{request}", "source": "/s", "type": "t", "causationid": request}
    return new_event({**attributes, "datacontenttype": "application/json", **more}, data)


def test_answers_are_joined_by_request() -> None:
    """Both, A alone and B alone; what is read from the disk is what was put there."""
    with closing(Answers()) as answers:
        answers.add(BEFORE, (event(str(n), b"%d" % n, hrelapsed="1.5", time="2026-01-31T10:00:00Z") for n in range(6)))
        answers.add(AFTER, (event(str(n), b"%d" % n) for n in range(3, 9)))
        found = [(a and a.request, b and b.request) for a, b in answers.pairs()]
        assert sorted(found, key=str) == sorted(
            [*((str(n), None) for n in range(3)), *((str(n), str(n)) for n in (3, 4, 5)),
             *((None, str(n)) for n in (6, 7, 8))], key=str,
        )  # fmt: skip
        first, _ = next(answers.pairs())
    assert first is not None
    assert (first.value, first.elapsed, first.finished) == (0, 1.5, 1769853600.0)


def test_the_worst_are_kept_of_many() -> None:
    """However many differ: the worst twenty are named, and all are counted."""
    pairs = [(Answer(str(n), float(n)), Answer(str(n), 2.0 * n + 1)) for n in range(500)]
    report = compare(pairs)
    assert [found.request for found in report.differences] == [str(n) for n in range(499, 499 - WORST, -1)]
    assert (report.counts["changed"], len(report.moved), report.most) == (500, 500, 500.0)


@pytest.fixture
def diff(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """The command over two files of answers; what it exits with and says."""
    for name, value in (("a", 0.6), ("b", 0.4)):
        lines = [
            json_format.dump_event(
                event(str(n), orjson.dumps([[value, 1 - value]]), hrelapsed="100.0", time=f"2026-01-31T10:00:0{n}Z")
            )
            for n in range(4)
        ]
        (tmp_path / f"{name}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    (tmp_path / "prices.yaml").write_text("currency: EUR\ncpuHour: 3.6\n")

    def call(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["diff", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), *words])
        written = capsys.readouterr()
        return int(ended.value.code or 0), written.out + written.err

    return call


def test_the_command_takes_rules_and_prices(diff: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    """``--as``, ``--prices``, ``--size``; the gate asks for the cost; mistakes are named."""
    assert "changed" in diff()[1]
    code, said = diff("--as", "classes")
    assert (code, "4 x  0 -> 1" in said) == (0, True), said
    assert "flip" not in diff("--as", "embeddings", "--cosine", "0.5")[1]
    prices = ("--prices", str(tmp_path / "prices.yaml"))
    code, said = diff(*prices, "--size", "cpu=2", "--size-before", "cpu=1,replicas=1", "--gate", "cost<=2, rate>9")
    assert (code, "0.2 EUR a thousand" in said, "0.1 EUR a thousand" in said) == (0, True, True), said
    assert diff(*prices, "--size", "cpu=2", "--size-before", "cpu=1", "--gate", "cost<150%")[0] == 1
    assert diff("--gate", "cost<2")[0] == 1, "what nobody measured meets nothing"
    for words, says in (
        (("--size", "cpu=2"), "--prices FILE"),
        ((*prices, "--size", "cpu=many"), "is no size"),
        ((*prices, "--size", "wheels=4"), "there is no wheels"),
    ):
        code, said = diff(*words)
        assert (code, says in said, "Traceback" in said) == (2, True, False), said
