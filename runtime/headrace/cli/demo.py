"""``headrace demo``: the main job on real pictures."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headrace.cli.target import OUTPUT_HELP
from headrace.errors import HeadraceError
from headrace.local.state import Home

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.cli.demo_report import DemoFacts
    from headrace.cli.demo_run import Answer
    from headrace.local.status import TwinEvent
    from headrace.local.trace_tree import Branch
    from headrace.local.twin import Twin
    from headrace.manifests.spec import InferenceApp
    from headrace.telemetry.usage.report import Report

TRACE_PATIENCE = 10.0
"""Seconds for the last span of a trace to arrive: exporters send every 200 ms."""


def demo(output: Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)] = "table") -> None:
    """Run the main job on real pictures: from zero replicas to labels, and back to zero.

    Starts an embedded Kafka broker, an HTTP ingress and a dispatcher, with no model server at all; publishes sample
    pictures as CloudEvents; the first wakes the transformer and the predictor (EfficientNet-Lite0 with its ImageNet
    weights); the labels come back through Kafka; then one event's trace, and the model servers go again.
    """
    from headrace.cli.demo_pictures import sample_pictures
    from headrace.cli.demo_report import print_facts
    from headrace.cli.demo_run import APP
    from headrace.manifests.loading import parse_apps

    pictures = sample_pictures()
    home = Home.of().path / "demo"
    _clear(home)
    (app,) = parse_apps(APP, "demo")
    facts = asyncio.run(_run(app, home, pictures, output))
    if output == "json":
        print_facts(facts, output)
    unanswered = [answer for answer in facts.cold if not answer.label]
    if unanswered:
        raise HeadraceError(f"{len(unanswered)} of {len(facts.cold)} pictures have no label")


def _clear(home: Path) -> None:
    """Begin with an empty broker and no traces: the demo shows itself, not its past."""
    running = Home(home).read()
    if running:
        raise HeadraceError(f"A demo is running already, process {running.pid}", hint="wait for its end")
    for name in ("kafka", "logs", "mounts"):
        shutil.rmtree(home / name, ignore_errors=True)
    for file in home.glob("traces.sqlite*"):
        file.unlink()


async def _run(app: InferenceApp, home: Path, pictures: list[Path], output: str) -> DemoFacts:
    from headrace.cli.running import event_line
    from headrace.local.apps import twin_of
    from headrace.local.settings import DEFAULTS

    def happened(event: TwinEvent) -> None:
        line = event_line(event)
        if line and event.kind != "skipped":
            typer.echo(f"  {line}", err=True)

    twin = twin_of(
        [app],
        home=home,
        folder=Path.cwd(),
        kafka=None,
        port=0,
        settings=replace(DEFAULTS, kafka_port=0),
        on_event=happened,
    )
    async with twin:
        return await _show(twin, app, pictures, output)


async def _show(twin: Twin, app: InferenceApp, pictures: list[Path], output: str) -> DemoFacts:
    from headrace.cli.demo_report import DemoFacts, LiveTable, print_facts
    from headrace.cli.demo_run import IDLE, DemoRun
    from headrace.cli.trace import print_branches
    from headrace.cli.usage import print_report

    say: Callable[[str], None] = (lambda _: None) if output == "json" else typer.echo
    say(
        f"Kafka on {twin.kafka}, ingress on {twin.ingress_url}, no model server. Publishing {len(pictures)} pictures.\n"
    )
    run = DemoRun(twin, app)
    try:
        with LiveTable(quiet=output == "json") as table:
            # The first picture alone wakes the models; the others arrive while they start.
            cold = await run.ask([pictures[:1], pictures[1:]], table.add)
        warm = await run.ask([pictures], lambda _: None)
        (alone,) = await run.ask([pictures[:1]], lambda _: None)
        first, trace = await _waking_trace(cold, twin)
        facts = DemoFacts(cold, first, warm, alone, trace, 0.0)
        if output != "json":
            print_facts(facts, output)
            say(f"\nThe way of {first.picture}, with the cold start in it:")
            print_branches(trace)
            say(f"\nNothing comes any more; after {IDLE} s without an event the model servers go.")
        seconds = await run.back_at_zero()
        say(f"Back at zero replicas after {seconds:.1f} s.")
        used = await _usage(twin, app)
        if output != "json":
            say("\nWho used the replicas' seconds, by model (`headrace usage` for apps with `usage` in their file):")
            print_report(used)
        say(f"\nAgain: headrace trace {cold[-1].event_id}   ({cold[-1].picture})")
        return DemoFacts(cold, first, warm, alone, trace, seconds, used)
    finally:
        run.close()


async def _usage(twin: Twin, app: InferenceApp) -> Report:
    """The report by model, once both replicas' ends are told."""
    from headrace.cli.usage import read_report

    assert app.spec.usage is not None
    deadline = asyncio.get_running_loop().time() + TRACE_PATIENCE
    while True:
        read = partial(read_report, twin.kafka, app.spec.usage.topic, "model", price_file=None, since=None)
        found = await asyncio.to_thread(read)
        if found.ended == found.replicas or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(0.1)


async def _waking_trace(answers: Sequence[Answer], twin: Twin) -> tuple[Answer, tuple[Branch, ...]]:
    """The picture that woke the models, and its trace once every span of it has its parent in the store.

    That is the first one, unless the dispatcher came up so late that it found several.
    """
    from headrace.cli.trace import branches_of

    deadline = asyncio.get_running_loop().time() + TRACE_PATIENCE
    while asyncio.get_running_loop().time() < deadline:
        for answer in answers:
            with suppress(HeadraceError):
                branches = branches_of(answer.event_id, twin.home.traces)
                if any(map(_woke, branches)) and not any(branch.orphan for branch in branches):
                    return answer, branches
        await asyncio.sleep(0.1)
    return answers[0], branches_of(answers[0].event_id, twin.home.traces)


def _woke(branch: Branch) -> bool:
    return branch.span.name == "cold start" or any(map(_woke, branch.children))
