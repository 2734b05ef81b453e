"""What Prometheus reads of the GPUs that this process uses, as torch tells it; nothing without torch, CUDA or a GPU.

Torch is never imported here: where no model has, there is nothing to tell.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from prometheus_client.core import GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

_PERCENT = 100


class GpuMeasures:
    """Memory and use of each GPU."""

    def collect(self) -> Iterable[Metric]:
        """The gauges; a family without a sample where there is no GPU."""
        used = GaugeMetricFamily("headrace_gpu_memory_used_bytes", "Memory that tensors have.", labels=("device",))
        held = GaugeMetricFamily("headrace_gpu_memory_held_bytes", "Memory that torch keeps.", labels=("device",))
        whole = GaugeMetricFamily("headrace_gpu_memory_total_bytes", "Memory of the GPU.", labels=("device",))
        busy = GaugeMetricFamily("headrace_gpu_utilization_ratio", "Share of time at work.", labels=("device",))
        cuda = _cuda()
        for device in range(cuda.device_count()) if cuda is not None else ():
            label = [str(device)]
            used.add_metric(label, cuda.memory_allocated(device))
            held.add_metric(label, cuda.memory_reserved(device))
            whole.add_metric(label, cuda.get_device_properties(device).total_memory)
            with suppress(Exception):  # needs NVIDIA's management library, which need not be installed
                busy.add_metric(label, cuda.utilization(device) / _PERCENT)
        return used, held, whole, busy


def _cuda() -> Any:
    """``torch.cuda`` where a model uses it; asking before would make a context on the GPU, and that costs memory."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None
