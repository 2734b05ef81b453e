"""``python -m benchmarks.serving``: Headrace's server beside KServe's own, on this machine, in one run."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.serving import report
from benchmarks.serving.cases import cases
from benchmarks.serving.hosts import speaks_grpc
from benchmarks.serving.real import shares
from benchmarks.serving.rounds import Plan, measure
from benchmarks.serving.starts import starts

PARTS = ("requests", "starts", "real")


def main() -> None:
    """Measure what is asked for, print the tables, write the JSON."""
    options = _options()
    told = _tell if sys.stderr.isatty() or options.verbose else _silent
    figures, started, real = [], [], []
    if "requests" in options.parts:
        plan = Plan(options.concurrency, options.rounds, options.count, grpc=speaks_grpc(), quiet=options.quiet)
        chosen = [case for case in cases() if options.case in case.name]
        figures = measure(chosen, plan, told)
        print(f"\nServer CPU an inference, medians of {options.rounds} interleaved rounds\n")
        print(report.figures_table(figures))
    if "starts" in options.parts:
        started = starts(options.rounds, told)
        print("\nFrom start to ready, KServe / Headrace\n")
        print(report.starts_table(started))
    if "real" in options.parts:
        real = shares(options.rounds, options.case, told)
        print("\nReal models behind the server, as a share of the same network in full batches by hand\n")
        print(report.shares_table(real))
    if options.json is not None:
        options.json.write_text(json.dumps(report.as_json(figures, started, real), indent=2), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what is measured")
    parser.add_argument(
        "--case", default="", metavar="TEXT", help="only the cases and real models whose name holds this"
    )
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 8, 64], help="requests at a time")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    parser.add_argument("--count", type=int, default=800, help="inferences in one measurement of a light case")
    parser.add_argument("--quiet", action="store_true", help="KServe logs nothing about a request")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--verbose", action="store_true", help="say what is being done")
    return parser.parse_args()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _silent(text: str) -> None:
    del text


if __name__ == "__main__":
    main()
