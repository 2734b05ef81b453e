"""How the containers log: one JSON object a line, with trace and span id, and the level."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.manifests.concerns.additions import NOTHING, PodAdditions
from headrace.manifests.concerns.places import COLLECTOR

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp


def log_additions(app: InferenceApp, options: RenderOptions, role: str) -> PodAdditions:  # noqa: ARG001  # an addition's signature
    """Variables that Headrace's own log set-up reads, and the parser that Fluent Bit is to use."""
    part = app.spec.logging
    if part is None or role == COLLECTOR:
        return NOTHING
    parser = {"fluentbit.io/parser": "json"} if part.format == "json" else {}
    return PodAdditions(annotations=parser, env={"HEADRACE_LOG_FORMAT": part.format, "HEADRACE_LOG_LEVEL": part.level})
