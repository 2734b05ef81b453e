"""What Prometheus reads of a model's runs.

headrace_queue_seconds{model}    from joining the line to the beginning of the run
headrace_run_seconds{model}      one run of the model; buckets to half an hour
headrace_run_requests{model}     requests that one run answered
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from prometheus_client import Histogram

from headrace.serving.metrics import observe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.serving.batching.member import Member
    from headrace.serving.batching.runs import RunTimes

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 1800)
_REQUESTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class RunMeasures:
    """The numbers of one model's runs.

    Args:
        model: Its name.
        merged: Whether members of a batch are answered by one run, or each by its own.
    """

    def __init__(self, model: str, *, merged: bool) -> None:
        waits, seconds, requests = _histograms()
        self._waits = waits.labels(model)
        self._seconds = seconds.labels(model)
        self._requests = requests.labels(model)
        self._merged = merged

    def ran(self, members: Sequence[Member], times: RunTimes) -> None:
        """Count what has ended. Runs of one request each that ended together count alike, by their means."""
        began, ended = times
        count = len(members)
        if self._merged:
            self._seconds.observe(ended - began)
            self._requests.observe(count)
            for member in members:
                self._waits.observe(max(0.0, began - member.entered))
            return
        observe(self._seconds, (ended - began) / count, count)
        observe(self._requests, 1, count)
        observe(self._waits, max(0.0, began - sum(member.entered for member in members) / count), count)


@lru_cache(maxsize=1)
def _histograms() -> tuple[Histogram, Histogram, Histogram]:
    """Made once a process: Prometheus refuses a second one of a name."""
    labels = ("model",)
    return (
        Histogram("headrace_queue_seconds", "From joining the line to the run.", labels, buckets=_SECONDS),
        Histogram("headrace_run_seconds", "One run of the model.", labels, buckets=_SECONDS),
        Histogram("headrace_run_requests", "Requests that one run answered.", labels, buckets=_REQUESTS),
    )
