"""The metrics that alerts and dashboard ask for, and how one app's are told from another's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.manifests.spec import InferenceApp

EVENTS = "headrace_dispatcher_events_total"
"""Events done with, by `outcome`: answered, dead_letter, skipped."""
EVENT_SECONDS = "headrace_dispatcher_event_seconds"
"""Histogram: from the record's arrival at the dispatcher to the committed answer."""
DEAD_LETTERS = "headrace_dispatcher_dead_letters_total"
"""Dead letters written, by `reason`."""
DEAD_LETTER_FAILURES = "headrace_dispatcher_dead_letter_failures_total"
"""Dead letters that could not be written: their partition waits."""
COLD_START = "headrace_dispatcher_cold_start_seconds"
"""Histogram: how long events waited for a replica."""
PUBLISHED = "headrace_dispatcher_publish_to_result_seconds"
"""Histogram: from publishing to the committed answer."""
RECEIVED = "headrace_dispatcher_received_total"
LAG = "headrace_dispatcher_lag_records"
OLDEST = "headrace_dispatcher_oldest_record_age_seconds"
COMMIT_AGE = "headrace_dispatcher_commit_age_seconds"
IN_FLIGHT = "headrace_dispatcher_in_flight_events"
FAILED_ATTEMPTS = "headrace_dispatcher_failed_attempts_total"
RETRIES = "headrace_dispatcher_retries_total"
TAKEN = "headrace_model_requests"
QUEUE = "headrace_queue_seconds"
RUN = "headrace_run_seconds"
BATCH = "headrace_run_requests"
"""Histogram: requests that one run of the model answered."""
START = "headrace_start_seconds"
USAGE = "headrace_usage_replica_seconds_total"
USAGE_DROPPED = "headrace_usage_dropped_total"
SPANS_DROPPED = "otel_sdk_processor_span_processed_total"
"""OpenTelemetry's own; `error_type` is `queue_full` where spans were dropped."""
SPANS_EXPORTED = "otel_sdk_exporter_span_exported_total"
"""The same; `error_type` is `export_failed` where a collector did not take them."""
OURS = (
    EVENTS, EVENT_SECONDS, DEAD_LETTERS, DEAD_LETTER_FAILURES, COLD_START, PUBLISHED, RECEIVED, LAG, OLDEST, COMMIT_AGE,
    IN_FLIGHT, FAILED_ATTEMPTS, RETRIES, TAKEN, QUEUE, RUN, BATCH, START, USAGE, USAGE_DROPPED, SPANS_DROPPED,
    SPANS_EXPORTED,
)  # fmt: skip
"""What Headrace's own processes serve."""

KEDA_LAG = "keda_scaler_metrics_value"
AVAILABLE = "kube_deployment_status_replicas_available"
WANTED = "kube_deployment_spec_replicas"
GPU = "DCGM_FI_DEV_GPU_UTIL"


def own(app: InferenceApp, more: str = "") -> str:
    """The selector of the app's own metrics: labels of the pod, as the PodMonitor takes them over."""
    extra = f",{more}" if more else ""
    return f'{{namespace="{app.namespace}",app_kubernetes_io_name="{app.name}"{extra}}}'


def lag(app: InferenceApp) -> str:
    """Events that wait, as KEDA reads them; its namespace label has two names, by how Prometheus scrapes KEDA."""
    name = f'scaledObject="{app.name}-dispatcher"'
    both = (f'{KEDA_LAG}{{{label}="{app.namespace}",{name}}}' for label in ("exported_namespace", "namespace"))
    return f"sum({' or '.join(both)})"


def replicas(app: InferenceApp, metric: str, role: str) -> str:
    """A metric of kube-state-metrics for a role's Deployments: Knative makes one a revision."""
    name = f'deployment="{app.name}-{role}"' if role == "dispatcher" else f'deployment=~"{app.name}-{role}-.+"'
    return f'{metric}{{namespace="{app.namespace}",{name}}}'
