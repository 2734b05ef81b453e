"""Kafka to a model and back, measured: see docs/benchmarks.md.

python -m benchmarks.eventing --events 2000 --rounds 5 --json found.json
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.eventing.contenders import CONTENDERS, Contender
from benchmarks.eventing.report import report, table
from benchmarks.eventing.rounds import Load, run


def main() -> None:
    """Measure whoever can take part, and print the table; with ``--json``, write the object too."""
    options = _options()
    chosen = [one for one in CONTENDERS if not options.only or one.name in options.only]
    for absent in (one for one in chosen if not one.is_here):
        _say(f"{absent.name} takes no part: {absent.needs} is not installed; `make bench` installs it")
    present: list[Contender] = [one for one in chosen if one.is_here]
    load = Load(
        options.events,
        options.rounds,
        options.warm_up,
        options.partitions,
        options.size,
        options.transformer,
        options.alone,
    )
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    try:
        turns, counts = run(present, load, folder, _say)
    except SystemExit:
        _say(f"the logs are in {folder}")
        raise
    shutil.rmtree(folder)
    found = report(present, load, turns, counts)
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def _options() -> argparse.Namespace:
    usual = Load()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.eventing", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    parser.add_argument("--events", type=_count, default=usual.events, help="events a round and contender")
    parser.add_argument("--rounds", type=_count, default=usual.rounds)
    parser.add_argument("--warm-up", type=_count, default=usual.warm_up, help="events before the first round")
    parser.add_argument("--partitions", type=_count, default=usual.partitions)
    parser.add_argument("--size", type=_count, default=usual.size, help="bytes of an event's data")
    parser.add_argument("--alone", type=_count, default=usual.alone, help="events a round that travel alone")
    parser.add_argument("--transformer", action="store_true", help="a transformer stands before the model")
    parser.add_argument("--only", action="append", choices=[one.name for one in CONTENDERS])
    parser.add_argument("--json", type=Path, help="file for the numbers of every round")
    return parser.parse_args()


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
