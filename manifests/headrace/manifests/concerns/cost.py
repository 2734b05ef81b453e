"""Labels under which cost reports add up what an app uses: on its pods, and on all else that is its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.manifests.concerns.additions import PodAdditions

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp


def cost_labels(app: InferenceApp) -> dict[str, str]:
    """OpenCost's and Kubecost's usual labels, as far as the app names them."""
    if app.spec.cost is None:
        return {}
    return {key: value for key, value in app.spec.cost.model_dump().items() if value is not None}


def cost_additions(app: InferenceApp, options: RenderOptions, role: str) -> PodAdditions:  # noqa: ARG001  # an addition's signature
    """The labels on the pods: what is paid for."""
    return PodAdditions(labels=cost_labels(app))
