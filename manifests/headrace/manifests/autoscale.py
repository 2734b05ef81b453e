"""How many dispatchers run: a KEDA ``ScaledObject`` on the consumer group's lag."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from headrace.manifests.dispatcher import dispatcher_name
from headrace.manifests.kafka_access import keda_authentication, keda_name, keda_settings
from headrace.manifests.resource import Resource, metadata, resource

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp

POLL_SECONDS = 5
"""Between looks at the lag: what the first event after a quiet time waits at most. KEDA's own 30 is long for it."""
LAG_PER_DISPATCHER = 100
"""Events that wait, for one dispatcher: Knative's figure for its Kafka sources."""


def autoscale(app: InferenceApp, options: RenderOptions) -> list[Resource]:
    """The ScaledObject of the app's dispatcher.

    None where Knative delivers. To zero only where the predictor may go to zero: an app kept warm shall not wait for a
    dispatcher either.
    """
    trigger = app.spec.trigger
    if trigger.delivery != "headrace":
        return []
    lag: dict[str, object] = {"type": "kafka", "metadata": _lag(app, options)}
    if keda_authentication(app, options):
        lag["authenticationRef"] = {"name": keda_name(app)}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": dispatcher_name(app)},
        "pollingInterval": POLL_SECONDS,
        "cooldownPeriod": math.ceil(app.spec.predictor.scale.idle.total_seconds()),
        "minReplicaCount": min(app.spec.predictor.scale.min, 1),
        # A consumer beyond the number of partitions gets none.
        "maxReplicaCount": trigger.partitions,
        # Where KEDA cannot read the lag, events go on with one dispatcher.
        "fallback": {"failureThreshold": 3, "replicas": 1},
        "triggers": [lag],
    }
    return [
        resource("keda.sh/v1alpha1", "ScaledObject", metadata(app, dispatcher_name(app), "dispatcher"), spec=spec),
    ]


def _lag(app: InferenceApp, options: RenderOptions) -> dict[str, str]:
    return {
        "bootstrapServers": options.kafka,
        "consumerGroup": app.consumer_group,
        "topic": app.spec.trigger.topic,
        "lagThreshold": str(LAG_PER_DISPATCHER),
        # One event is enough to start the first dispatcher.
        "activationLagThreshold": "0",
        # The dispatcher's own rule: a new group starts at the topic's beginning, so all of it is lag.
        "offsetResetPolicy": "earliest",
        **keda_settings(app),
    }
