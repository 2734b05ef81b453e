"""The report as one HTML page that needs nothing else: for mails, tickets and build artefacts. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from headrace.eventing.comparison.plots import histogram, histograms, matrix
from headrace.eventing.comparison.report import largest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from headrace.eventing.comparison.gate import Condition
    from headrace.eventing.comparison.report import Latency, Report

FLIPS = 50
"""Rows of the table of flips."""
_STYLE = """
:root{color-scheme:light dark;--ink:#1b2430;--soft:#5b6b7d;--line:#d7dee6}
:root{--bar:#2f6f8f;--other:#c98a2b;--bad:#b3452c;--good:#2f7d4f}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf0;--soft:#9aa8b6;--line:#33404d}
:root{--bar:#69b3d6;--other:#e0b26a;--bad:#e58a72;--good:#7cc79a}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem;overflow-wrap:anywhere}h2{font-size:1.05rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}th{color:var(--soft);font-weight:500}
td,th{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid var(--line)}
td,th{vertical-align:top;overflow-wrap:anywhere}
svg.histogram{width:100%;height:9rem}svg.matrix{display:block;max-width:100%}
rect{fill:var(--bar)}rect.set1{fill:var(--other)}text{fill:var(--soft);font-size:10px}
text.set0{fill:var(--bar)}text.set1{fill:var(--other)}text.count{fill:var(--ink);text-anchor:middle}
.bad{color:var(--bad)}.good{color:var(--good)}
pre{font-size:.8em;white-space:pre-wrap;overflow-wrap:anywhere;margin:.25rem 0}
.span{display:flex;font-size:.8em}.span i{flex:1;position:relative;font-style:normal}
.span b{flex:0 0 22rem;font-weight:400;overflow:hidden;white-space:nowrap;text-overflow:ellipsis}
.span u{position:absolute;height:.7em;top:.35em;background:var(--bar);min-width:2px}.span.bad u{background:var(--bad)}
"""


@dataclass(frozen=True, slots=True)
class Step:
    """A span of a trace, as the page draws it."""

    depth: int
    name: str
    begins: float
    """Milliseconds after the trace's first span."""
    lasts: float
    """Milliseconds."""
    failed: bool = False


def no_trace(identifier: str) -> Sequence[Step]:  # noqa: ARG001  # the form of those that know some
    """Where no traces are kept."""
    return ()


def page(report: Report, gate: Sequence[Condition] = (), trace: Callable[[str], Sequence[Step]] = no_trace) -> str:
    """The whole page.

    Args:
        report: What it shows.
        gate: The conditions, met or not.
        trace: The spans of a trace id, in the order of the tree; empty where it is not known.
    """
    title = f"{report.names[1]} against {report.names[0]}"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(title)}</h1>",
        _summary(report),
        _speed(report),
        _gate(report, gate),
        _plots(report),
        _confusion(report),
        _worst(report),
        _slowest(report),
        _examples(report, trace),
        "</html>",
    ]
    return "\n".join(filter(None, parts)) + "\n"


def _summary(report: Report) -> str:
    rows: list[tuple[str, object]] = [
        ("answered by both", report.both),
        (f"by {report.names[0]} alone", report.only[0]),
        (f"by {report.names[1]} alone", report.only[1]),
        *((kind, f"{count} ({report.share(kind):.2%})") for kind, count in report.counts.items()),
    ]
    if report.top:
        rows.append(("other classes among the first few", report.top))
    if report.cosine is not None:
        rows.append(("smallest cosine", f"{report.cosine:.6f}"))
    if report.most:
        rows.append(("largest difference of two numbers", f"{report.most:.6g}"))
    if report.similarity is not None:
        rows.append(("smallest similarity of two texts", f"{report.similarity:.4f}"))
    return _table((), rows)


def _speed(report: Report) -> str:
    rows: list[tuple[object, ...]] = []
    for name, latency, cost in zip(report.names, report.latency, report.cost, strict=True):
        if latency.p50 is not None:
            price = f"{cost.per_thousand:.4g} {cost.currency}" if cost else ""
            rows.append((name, *_times(latency), price))
    head = ("", "median, ms", "99 %, ms", "most, ms", "a busy second", "1,000 answers cost")
    return f"<h2>Time and cost</h2>{_table(head, rows)}" if rows else ""


def _times(latency: Latency) -> tuple[str, ...]:
    rate = f"{latency.rate:.4g} answers" if latency.rate else ""
    return (f"{latency.p50:.4g}", f"{latency.p99:.4g}", f"{latency.most:.4g}", rate)


def _gate(report: Report, gate: Sequence[Condition]) -> str:
    if not gate:
        return ""
    rows = "".join(
        f"<tr><td class={'good' if one.met(report) else 'bad'}>{'met' if one.met(report) else 'not met'}"
        f"<td>{escape(one.says(report))}"
        for one in gate
    )
    return f"<h2>Gate</h2><table>{rows}</table>"


def _plots(report: Report) -> str:
    times = histograms(list(zip(report.names, report.elapsed, strict=True)), "milliseconds")
    drawn = (
        ("Largest difference of two numbers, by event", histogram(report.moved, "differences")),
        ("Smallest cosine, by event", histogram(report.cosines, "cosines")),
        ("Milliseconds, by event", times),
    )
    return "".join(f"<h2>{title}</h2>{plot}" for title, plot in drawn if plot)


def _confusion(report: Report) -> str:
    rows = [(a, b, count) for (a, b), count in largest(report.confusion)[:FLIPS]]
    if not rows:
        return ""
    return f"<h2>Flips</h2>{matrix(report.confusion, report.names)}{_table((*report.names, 'events'), rows)}"


def _worst(report: Report) -> str:
    rows = [
        (
            found.request,
            found.kind,
            f"{found.most:.4g}",
            "" if found.cosine is None else f"{found.cosine:.6f}",
            "; ".join([*(f"{a} → {b}" for a, b in found.flips), *found.notes]),
            _traces(report, found.request),
        )
        for found in report.differences
    ]
    head = ("event", "kind", "difference", "cosine", "what", "traces")
    return f"<h2>Worst</h2>{_table(head, rows)}" if rows else ""


def _slowest(report: Report) -> str:
    rows = [(request, f"{elapsed:g} ms", _traces(report, request)) for request, elapsed in report.slowest]
    return f"<h2>Slowest of {escape(report.names[1])}</h2>{_table(('event', 'time', 'traces'), rows)}" if rows else ""


def _examples(report: Report, trace: Callable[[str], Sequence[Step]]) -> str:
    """Both answers of each event that is named, and its way where it is known."""
    shown = []
    for example in report.examples.values():
        answers = "".join(
            f"<p>{escape(name)}</p><pre>{escape(answer)}</pre>"
            for name, answer in zip(report.names, example.answers, strict=True)
            if answer
        )
        ways = "".join(
            f"<p>trace {escape(identifier)}</p>{_way(steps)}"
            for identifier in example.traces
            if identifier and (steps := trace(identifier))
        )
        shown.append(f"<details><summary>{escape(example.request)}</summary>{answers}{ways}</details>")
    return f"<h2>Examples</h2>{''.join(shown)}" if shown else ""


def _way(steps: Sequence[Step]) -> str:
    whole = max(step.begins + step.lasts for step in steps) or 1.0
    return "".join(_bar(step, whole) for step in steps)


def _bar(step: Step, whole: float) -> str:
    place = f"left:{100 * step.begins / whole:.2f}%;width:{100 * step.lasts / whole:.2f}%"
    name = f'<b style="padding-left:{step.depth}em">{escape(step.name)}</b>'
    failed = " bad" if step.failed else ""
    return f'<div class="span{failed}">{name}<i><u style="{place}"></u></i>{step.lasts:.4g} ms</div>'


def _traces(report: Report, request: str) -> str:
    found = report.examples.get(request)
    return " / ".join(trace for trace in found.traces if trace) if found else ""


def _table(head: Iterable[str], rows: Iterable[Sequence[object]]) -> str:
    columns = "".join(f"<th>{escape(name)}" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in row) for row in rows)
    return f"<table>{f'<tr>{columns}' if columns else ''}{body}</table>"
