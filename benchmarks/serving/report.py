"""The figures as tables for people, and as JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.serving.starts import SHARE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.serving.real import Share
    from benchmarks.serving.rounds import Figure
    from benchmarks.serving.starts import Start

_ANSWER = {True: "met", False: "NOT met", None: ""}


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its columns aligned."""
    widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    lines = [heads, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def figures_table(figures: Sequence[Figure]) -> str:
    """Server CPU an inference."""
    rows = [
        [
            figure.case,
            str(figure.concurrency),
            _micros(figure.median("kserve")),
            _micros(figure.median("headrace")),
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            str(figure.goal or ""),
            _ANSWER[figure.met],
        ]
        for figure in figures
    ]
    return table(["case", "at a time", "KServe, us", "Headrace, us", "ratio", "target", ""], rows)


def starts_table(starts: Sequence[Start]) -> str:
    """Getting ready."""
    rows = []
    for ours in (start for start in starts if start.host == "headrace"):
        theirs = next(start for start in starts if start.host == "kserve" and start.model == ours.model)
        ratio = ours.cpu / theirs.cpu
        rows.append(
            [
                ours.model,
                f"{theirs.seconds:.2f} / {ours.seconds:.2f}",
                f"{theirs.cpu:.2f} / {ours.cpu:.2f}",
                f"{ratio:.2f}",
                f"<= {SHARE:g}x",
                _ANSWER[ratio <= SHARE],
                f"{theirs.mebibytes:.0f} / {ours.mebibytes:.0f}",
            ]
        )
    heads = ["model", "ready, s", "CPU until ready, s", "ratio", "target", "", "memory, MiB"]
    return table(heads, rows)


def shares_table(shares: Sequence[Share]) -> str:
    """Real models behind the server, beside the same network called in batches by hand."""
    rows = [
        [
            share.model,
            f"{share.raw:.1f}",
            f"{share.served:.1f}",
            f"{share.share:.2f}",
            f"{share.cpu_share:.2f}",
            f">= {share.goal:g}",
            _ANSWER[share.met],
        ]
        for share in shares
    ]
    heads = ["model", "raw, inputs/s", "served, inputs/s", "share", "share by CPU", "target", ""]
    return table(heads, rows)


def as_json(figures: Sequence[Figure], starts: Sequence[Start], shares: Sequence[Share]) -> dict[str, Any]:
    """Everything, rounds included."""
    return {
        "figures": [
            {
                "case": figure.case,
                "concurrency": figure.concurrency,
                "unit": "microseconds of server CPU an inference",
                "kserve": figure.median("kserve"),
                "headrace": figure.median("headrace"),
                "ratio": figure.ratio,
                "target": str(figure.goal) if figure.goal else None,
                "met": figure.met,
                "rounds": figure.rounds,
            }
            for figure in figures
        ],
        "starts": [
            {"model": s.model, "host": s.host, "seconds": s.seconds, "cpu": s.cpu, "mebibytes": s.mebibytes}
            for s in starts
        ],
        "shares": [
            {
                "model": s.model,
                "raw": s.raw,
                "served": s.served,
                "share": s.share,
                "cpu_share": s.cpu_share,
                "target": s.goal,
                "met": s.met,
            }
            for s in shares
        ],
    }  # fmt: skip


def _micros(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
