"""Measurements in rounds: every server's turn comes in each, so that a noisy minute is nobody's advantage."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.serving import load
from benchmarks.serving.hosts import Host, free_port, headrace_command, kserve_command, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.serving.cases import Case, Target

WARM = 40
"""Requests to each server before any is counted."""
MICROS = 1_000_000


@dataclass(slots=True)
class Figure:
    """One case at one concurrency: what each server's CPU costs an inference, in microseconds, by round."""

    case: str
    concurrency: int
    goal: Target | None
    rounds: dict[str, list[float]] = field(default_factory=dict)

    def median(self, host: str) -> float | None:
        """The middle of the rounds; None where this server was not asked."""
        return median(self.rounds[host]) if self.rounds.get(host) else None

    @property
    def ratio(self) -> float | None:
        """Headrace's figure as a share of KServe's, the middle of the rounds' own ratios."""
        pairs = zip(self.rounds.get("headrace", []), self.rounds.get("kserve", []), strict=False)
        ratios = [ours / theirs for ours, theirs in pairs if theirs]
        return median(ratios) if ratios else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none, or no figure."""
        ours, ratio = self.median("headrace"), self.ratio
        if self.goal is None or ours is None:
            return None
        fits = self.goal.micros is None or ours <= self.goal.micros
        return fits and (self.goal.ratio is None or (ratio is not None and ratio <= self.goal.ratio))


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    levels: Sequence[int]
    """Requests at a time."""
    rounds: int
    count: int
    """Inferences in one measurement of a light case."""
    grpc: bool
    """Whether Headrace's server speaks gRPC."""
    quiet: bool
    """Whether KServe logs nothing about a request."""


def measure(chosen: Sequence[Case], plan: Plan, told: Callable[[str], None]) -> list[Figure]:
    """The figures of these cases; ``told`` hears what is being done."""
    figures = []
    for target in dict.fromkeys(case.target for case in chosen):
        with both(target, plan) as hosts:
            for case in (case for case in chosen if case.target == target):
                for concurrency in plan.levels:
                    told(f"{case.name}, {concurrency} at a time")
                    figures.append(_figure(case, concurrency, plan, hosts))
    return figures


@contextlib.contextmanager
def both(target: str, plan: Plan) -> Iterator[tuple[Host, Host]]:
    """KServe's server and Headrace's with one model, until the block ends."""
    with contextlib.ExitStack() as stack:
        http, grpc = free_port(), free_port()
        command = kserve_command(target, http, grpc, quiet=plan.quiet)
        theirs = stack.enter_context(running("kserve", command, http, grpc))
        http, grpc = free_port(), free_port() if plan.grpc else 0
        ours = stack.enter_context(running("headrace", headrace_command(target, http, grpc), http, grpc))
        yield theirs, ours


def _figure(case: Case, concurrency: int, plan: Plan, hosts: Sequence[Host]) -> Figure:
    figure = Figure(case.name, concurrency, case.goal)
    asked = [host for host in hosts if case.grpc is None or host.grpc_port]
    for host in asked:
        asyncio.run(_send(case, host, concurrency, WARM))
    for _ in range(plan.rounds):
        for host in asked:
            count = max(concurrency, plan.count // case.share)
            before = host.cpu()
            inferences = asyncio.run(_send(case, host, concurrency, count))
            figure.rounds.setdefault(host.name, []).append((host.cpu() - before) / inferences * MICROS)
    return figure


async def _send(case: Case, host: Host, concurrency: int, count: int) -> int:
    """Send that many requests; how many inferences they were."""
    if case.grpc is not None:
        await load.infer(host.grpc_port, case.grpc, concurrency, count)
        return count
    alone = case.kserve is not None and host.name == "kserve"
    request = case.kserve if alone else case.request
    assert request is not None
    await load.post(host.http_port, request, concurrency, count)
    return count * (1 if alone else case.events)
