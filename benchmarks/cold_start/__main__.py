"""``python -m benchmarks.cold_start``: from zero replicas to the first answer, beside a start of KServe's ModelServer.

The app has a transformer and a predictor, which wake together when an event comes; KServe's server has the predictor
alone, gets the tensor ready-made, and is started when the clock starts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.cold_start import ours, theirs
from benchmarks.serving.report import table

from headrace.cli.demo_pictures import sample_pictures
from headrace.transformers.pictures import tensor_of

if TYPE_CHECKING:
    from benchmarks.cold_start.ours import ColdStart

SHARE = 0.25
"""Of KServe's seconds, at most."""
_NAMES = {
    "kserve": "KServe ModelServer, predictor alone",
    "template": "headrace up: forked",
    "plain": "headrace up --no-template",
}


def main() -> None:
    """Measure in interleaved rounds, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each starts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures there as well")
    options = parser.parse_args()
    found = _measured(options.rounds)
    print(f"\nFrom zero to the first answer, medians of {options.rounds} interleaved rounds\n")
    print(_totals(found))
    print("\nWhere the seconds went, medians\n")
    print(_phases(found))
    if options.json is not None:
        rounds = {name: [asdict(start) for start in starts] for name, starts in found.items()}
        options.json.write_text(json.dumps({"rounds": rounds}, indent=2), encoding="utf-8")


def _measured(rounds: int) -> dict[str, list[ColdStart]]:
    picture = next(path for path in sample_pictures() if path.name == "coffee.png").read_bytes()
    image = tensor_of(picture, 224)[None]
    found: dict[str, list[ColdStart]] = {name: [] for name in _NAMES}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        forked = stack.enter_context(ours.app(folder, template=True))
        started = stack.enter_context(ours.app(folder, template=False))
        for _ in range(rounds):
            found["kserve"].append(theirs.measure(image))
            found["template"].append(ours.measure(forked, picture))
            found["plain"].append(ours.measure(started, picture))
    return found


def _totals(found: dict[str, list[ColdStart]]) -> str:
    base = median(start.seconds for start in found["kserve"])
    base_cpu = median(start.cpu for start in found["kserve"])
    rows = []
    for name, starts in found.items():
        seconds, cpu = median(start.seconds for start in starts), median(start.cpu for start in starts)
        goal = [f"<= {SHARE:g}x", "met" if seconds <= SHARE * base else "NOT met"] if name == "template" else ["", ""]
        rows.append(
            [_NAMES[name], f"{seconds:.2f}", f"{seconds / base:.2f}", *goal, f"{cpu:.2f}", f"{cpu / base_cpu:.2f}"]
        )
    return table(["", "seconds", "of KServe's", "target", "", "CPU seconds", "of KServe's"], rows)


def _phases(found: dict[str, list[ColdStart]]) -> str:
    rows = []
    for name in ("template", "plain"):
        for service in sorted({service for start in found[name] for service in start.phases}):
            phases = [start.phases[service] for start in found[name] if service in start.phases]
            spent = [f"{phase} {median(each[phase] for each in phases if phase in each):.2f}" for phase in phases[0]]
            rows.append([_NAMES[name], service.partition("/")[2], ", ".join(spent)])
    return table(["", "service", "seconds"], rows)


if __name__ == "__main__":
    main()
