"""What may be set about the twin itself; what the app says stands in its manifests."""

from __future__ import annotations

import os
from dataclasses import dataclass

from headrace.local.trace_store import MAX_SPANS


@dataclass(frozen=True, slots=True)
class TwinSettings:
    """How the twin behaves; times in seconds."""

    queue_depth: int = 10_000
    """Requests that may wait for one service, as at Knative's activator; one more is answered 503."""
    cold_start: float = 600.0
    """How long a request waits for a replica before 504, and a replica may take to become ready."""
    start_attempts: int = 3
    """Failed starts in a row after which the waiting requests are answered 503."""
    start_backoff: float = 0.5
    """Pause after the first failed start; doubled after each further one."""
    max_backoff: float = 30.0
    """Longest pause between two starts."""
    drain: float = 30.0
    """Between SIGTERM and SIGKILL of a replica; a Deployment's own grace period goes before it."""
    probe_interval: float = 0.05
    """Between two readiness probes of a replica that starts, as Knative's queue-proxy does."""
    suspect: float = 10.0
    """How long a replica that broke a connection may fail its probes before it is replaced."""
    tick: float = 2.0
    """Between two decisions of the autoscaler, as Knative has it."""
    report: float = 1.0
    """Between two reports of the requests, as Knative's queue-proxies and activator have it."""
    replica_limit: int = max(1, os.cpu_count() or 1)
    """Most replicas of one service on this machine, whatever its maxReplicas: more than there are cores only wait."""
    templates: bool = True
    """Whether replicas are forked from a process that has imported the model's code; else each imports it itself."""
    scale_dispatchers: bool = False
    """Whether dispatchers come and go by KEDA's lag rule; else one is always up."""
    max_spans: int = MAX_SPANS
    """Spans kept in the trace store."""
    log_bytes: int = 50_000_000
    """Size at which the log of one service is put aside as ``.1`` and begun anew."""
    kafka_port: int = 9092
    """Port of the embedded broker when the twin starts it; a free one where it is taken."""
    kafka_ready: float = 30.0
    """How long the embedded broker may take to start."""


DEFAULTS = TwinSettings()
"""Nothing set."""
