"""The report as one HTML page that needs nothing else: for mails, tickets and build artefacts. Pure."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from headrace.eventing.comparison.gate import Condition
    from headrace.eventing.comparison.report import Report

BARS = 24
WIDE = 100
"""Values that span more than this factor are drawn by their powers of ten."""
_STYLE = """
:root{color-scheme:light dark;--ink:#1b2430;--soft:#5b6b7d;--line:#d7dee6;--bar:#2f6f8f;--bad:#b3452c;--good:#2f7d4f}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf0;--soft:#9aa8b6;--line:#33404d;--bar:#69b3d6;--bad:#e58a72;--good:#7cc79a}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:500}.n{text-align:right;font-variant-numeric:tabular-nums}
svg{width:100%;height:9rem}rect{fill:var(--bar)}text{fill:var(--soft);font-size:10px}
.bad{color:var(--bad)}.good{color:var(--good)}code{font-size:.85em}
"""


def page(report: Report, gate: Sequence[Condition] = ()) -> str:
    """The whole page."""
    title = f"{report.names[1]} against {report.names[0]}"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(title)}</h1>",
        _summary(report),
        _gate(report, gate),
        _plots(report),
        _confusion(report),
        _worst(report),
        _slowest(report),
        "</html>",
    ]
    return "\n".join(filter(None, parts)) + "\n"


def histogram(values: Sequence[float], label: str) -> str:
    """An SVG of how often values of each size come."""
    finite = sorted(value for value in values if math.isfinite(value))
    if not finite:
        return ""
    scale = _scale(finite)
    low, high = scale(finite[0]), scale(finite[-1])
    width = (high - low) / BARS or 1.0
    counts = [0] * BARS
    for value in finite:
        counts[min(BARS - 1, int((scale(value) - low) / width))] += 1
    top, step = max(counts), 600 / BARS
    bars = "".join(
        f'<rect x="{place * step:.1f}" y="{110 - 100 * count / top:.1f}" width="{step - 2:.1f}" '
        f'height="{100 * count / top:.1f}"><title>{count}</title></rect>'
        for place, count in enumerate(counts)
    )
    ends = f'<text x="0" y="125">{finite[0]:.4g}</text><text x="600" y="125" text-anchor="end">{finite[-1]:.4g}</text>'
    return f'<svg viewBox="0 0 600 130" role="img" aria-label="{escape(label)}">{bars}{ends}</svg>'


def _scale(values: Sequence[float]) -> Callable[[float], float]:
    return math.log10 if values[0] > 0 and values[-1] / values[0] > WIDE else float


def _summary(report: Report) -> str:
    rows = [
        ("answered by both", report.both),
        (f"by {report.names[0]} alone", report.only[0]),
        (f"by {report.names[1]} alone", report.only[1]),
        *((kind, f"{count} ({report.share(kind):.2%})") for kind, count in report.counts.items()),
    ]
    for name, latency in zip(report.names, report.latency, strict=True):
        if latency.p50 is not None:
            rows.append((f"{name}: ms, median / 99 % / most", f"{latency.p50:g} / {latency.p99:g} / {latency.most:g}"))
    if report.cosine is not None:
        rows.append(("smallest cosine", f"{report.cosine:.6f}"))
    return _table((), rows)


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
    cosines = [d.cosine for d in report.differences if d.cosine is not None]
    moved = [d.most for d in report.differences if d.most > 0]
    plots = ""
    if moved:
        plots += f"<h2>Largest difference of two numbers, by event</h2>{histogram(moved, 'differences')}"
    if cosines:
        plots += f"<h2>Cosine, by event</h2>{histogram(cosines, 'cosines')}"
    return plots


def _confusion(report: Report) -> str:
    largest = sorted(report.confusion.items(), key=lambda flip: (-flip[1], flip[0]))[:50]
    rows = [(a, b, count) for (a, b), count in largest]
    return f"<h2>Flips</h2>{_table((*report.names, 'events'), rows)}" if rows else ""


def _worst(report: Report) -> str:
    named = [d for d in report.differences if d.request in report.traces and d.kind not in {"same", "close"}]
    rows = [
        (
            d.request,
            d.kind,
            f"{d.most:.4g}",
            "; ".join([*(f"{a} → {b}" for a, b in d.flips), *d.notes]),
            _traces(report, d.request),
        )
        for d in named
    ]
    return f"<h2>Worst</h2>{_table(('event', 'kind', 'difference', 'what', 'traces'), rows)}" if rows else ""


def _slowest(report: Report) -> str:
    rows = [(request, f"{elapsed:g} ms", _traces(report, request)) for request, elapsed in report.slowest]
    return f"<h2>Slowest of {escape(report.names[1])}</h2>{_table(('event', 'time', 'traces'), rows)}" if rows else ""


def _traces(report: Report, request: str) -> str:
    return " / ".join(trace for trace in report.traces.get(request, ()) if trace)


def _table(head: Iterable[str], rows: Iterable[Sequence[object]]) -> str:
    columns = "".join(f"<th>{escape(name)}" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in row) for row in rows)
    return f"<table>{f'<tr>{columns}' if columns else ''}{body}</table>"
