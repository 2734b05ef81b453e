"""Kafka to a model and back, measured: see docs/benchmarks.md.

python -m benchmarks.eventing --events 2000 --rounds 5 --json found.json
python -m benchmarks.eventing --grow
python -m benchmarks.eventing --lag 1000000
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.eventing.contenders import CONTENDERS, Contender
from benchmarks.eventing.growth import grow
from benchmarks.eventing.lag import Lag, hold
from benchmarks.eventing.models import CASES
from benchmarks.eventing.report import machine, report, table
from benchmarks.eventing.rounds import Load, run


def main() -> None:
    """Measure whoever can take part, and print the table; with ``--json``, write the object too."""
    options = _options()
    # Who ends it ends the contenders too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    try:
        text, found = _lag(options, folder) if options.lag else _rounds(options, folder)
    except SystemExit:
        _say(f"the logs are in {folder}")
        raise
    shutil.rmtree(folder)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def _lag(options: argparse.Namespace, folder: Path) -> tuple[str, dict[str, Any]]:
    lag = Lag(options.lag, seconds=options.seconds)
    held = hold(lag, folder, _say)
    text = (
        f"dispatcher with {lag.events:,} events of {lag.size} bytes before it, {held.answered:,} of them answered in "
        f"{lag.seconds:g} s: {held.start_mib:.0f} MiB at the start, {held.peak_mib:.0f} MiB at the peak"
    )
    return text, {"lag": asdict(lag), "machine": machine(), "held": asdict(held)}


def _rounds(options: argparse.Namespace, folder: Path) -> tuple[str, dict[str, Any]]:
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
        # MiniLM reads tokens: somebody has to make them of texts.
        options.transformer or options.model == "minilm",
        options.keys,
        options.model,
        options.alone,
    )
    if options.grow:
        return grow(present, load, folder, _say)
    turns, counts = run(present, load, folder, _say)
    found = report(present, load, turns, counts)
    return table(found), found


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
    parser.add_argument("--keys", type=_count, default=usual.keys, help="keys, whose order is kept; else each its own")
    parser.add_argument("--model", choices=sorted(CASES), default=usual.model)
    parser.add_argument("--grow", action="store_true", help="instead: a table over partitions, keys and sizes")
    parser.add_argument("--lag", type=_count, help="instead: the dispatcher's memory while so many events wait")
    parser.add_argument("--seconds", type=_count, default=60, help="with --lag: how long it is watched")
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
