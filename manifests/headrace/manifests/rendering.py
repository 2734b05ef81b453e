"""From apps to manifests: every concern in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from headrace.manifests.autoscale import autoscale
from headrace.manifests.concerns.every import PRODUCTION, completed
from headrace.manifests.concerns.quota import added
from headrace.manifests.configuration import configuration
from headrace.manifests.dispatcher import dispatcher
from headrace.manifests.inferenceservice import inference_service
from headrace.manifests.kafka_access import kafka_user, keda_authentication
from headrace.manifests.knative_delivery import knative_delivery
from headrace.manifests.model_cache import model_cache
from headrace.manifests.options import RenderOptions
from headrace.manifests.resource import Resource
from headrace.manifests.spec import InferenceApp
from headrace.manifests.topics import ROLES, topics

if TYPE_CHECKING:
    from collections.abc import Iterable

Concern = Callable[[InferenceApp, RenderOptions], list[Resource]]
"""A pure function from app and cluster to the resources of one concern."""

CONCERNS: dict[str, Concern] = {
    **PRODUCTION,
    "topics": topics,
    "kafka-user": kafka_user,
    "configuration": configuration,
    "model-cache": model_cache,
    "inference-service": inference_service,
    "dispatcher": dispatcher,
    "knative-delivery": knative_delivery,
    "keda-authentication": keda_authentication,
    "autoscale": autoscale,
}
"""Every concern, in the order in which a cluster wants them: what is needed stands before what needs it."""

_DEFAULTS = RenderOptions()


def render(app: InferenceApp, options: RenderOptions = _DEFAULTS) -> list[Resource]:
    """All resources of one app; the same app and options give equal resources in the same order."""
    return completed(app, options, [each for concern in CONCERNS.values() for each in concern(app, options)])


def render_all(apps: Iterable[InferenceApp], options: RenderOptions = _DEFAULTS) -> list[Resource]:
    """All resources of several apps, each once.

    A topic that two apps name is rendered as the app has it that is triggered by it, since that app's spec says how
    many partitions it has. The quotas of a namespace are added up.
    """
    found: dict[tuple[str, str, str], Resource] = {}
    for each in (resource for app in apps for resource in render(app, options)):
        place = (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"])
        if each["kind"] == "ResourceQuota" and place in found:
            found[place] = added(found[place], each)
        elif place not in found or _rank(each) < _rank(found[place]):
            found[place] = each
    return list(found.values())


def _rank(resource: Resource) -> int:
    component = resource["metadata"]["labels"]["app.kubernetes.io/component"]
    return ROLES.index(component) if component in ROLES else 0
