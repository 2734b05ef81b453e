"""What Prometheus reads of models' processes.

headrace_model_process_restarts_total{model}     how often a process that ended was replaced
"""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import Counter


@lru_cache(maxsize=1)
def restarts() -> Counter:
    """Where replaced processes are counted."""
    return Counter("headrace_model_process_restarts", "Processes of the model that were replaced.", ("model",))
