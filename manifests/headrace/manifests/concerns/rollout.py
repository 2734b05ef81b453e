"""How a changed predictor takes over: a share first, slowly, at an address of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.manifests.concerns.additions import NOTHING, PodAdditions
from headrace.manifests.concerns.places import model_roles
from headrace.manifests.quantity import format_duration

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp


def rollout_additions(app: InferenceApp, options: RenderOptions, role: str) -> PodAdditions:  # noqa: ARG001  # an addition's signature
    """Duration and tags for predictor and transformer; the canary share for the predictor alone.

    Were both shared out, one request in a hundred would see new before new at ten per cent each.
    """
    part = app.spec.rollout
    if part is None or role not in model_roles(app):
        return NOTHING
    annotations = {}
    if part.duration:
        annotations["serving.knative.dev/rollout-duration"] = format_duration(part.duration)
    if part.tags:
        annotations["serving.kserve.io/enable-tag-routing"] = "true"
    share: dict[str, Any] = {}
    if part.canary is not None and role == "predictor":
        share["canaryTrafficPercent"] = part.canary
    return PodAdditions(annotations=annotations, spec=share)
