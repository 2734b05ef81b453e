"""A Grafana dashboard as a ConfigMap, with the label by which Grafana's sidecar finds it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from headrace.manifests.concerns import metric_names as names
from headrace.manifests.concerns.places import has_dispatcher, model_roles
from headrace.manifests.resource import Resource, metadata, resource

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp

    Panel = tuple[str, str, dict[str, str]]

_WIDTH, _HEIGHT = 12, 8
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard(app: InferenceApp, options: RenderOptions) -> list[Resource]:  # noqa: ARG001  # a concern's signature
    """The ConfigMap of the app's dashboard; none without metrics."""
    if app.spec.metrics is None:
        return []
    about = metadata(app, f"{app.name}-dashboard", "metrics")
    about["labels"]["grafana_dashboard"] = "1"
    about["annotations"] = {"grafana_folder": "Headrace"}
    text = json.dumps(_document(app), indent=1, sort_keys=True) + "\n"
    return [resource("v1", "ConfigMap", about, data={f"{app.namespace}-{app.name}.json": text})]


def _document(app: InferenceApp) -> dict[str, Any]:
    place = f"{app.namespace}/{app.name}"
    variable = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
    return {
        # The same dashboard after every deploy, so that links to it hold.
        "uid": hashlib.sha256(place.encode()).hexdigest()[:16],
        "title": f"Headrace: {place}",
        "tags": ["headrace", app.namespace],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [variable]},
        "panels": [_panel(number, each) for number, each in enumerate(panels(app))],
    }


def panels(app: InferenceApp) -> list[Panel]:
    """Title, unit and queries by legend of each panel."""
    events = [*_events(app)] if has_dispatcher(app) else []
    roles = (*(("dispatcher",) if has_dispatcher(app) else ()), *model_roles(app))
    return [
        *events,
        ("Replicas", "short", {role: f"sum({names.replicas(app, names.AVAILABLE, role)})" for role in roles}),
        (
            "Batch size",
            "short",
            {
                "median": f"histogram_quantile(0.5, sum by (le) (rate({names.BATCH}_bucket{names.own(app)}[5m])))",
                "mean": " / ".join(f"sum(rate({names.BATCH}_{part}{names.own(app)}[5m]))" for part in ("sum", "count")),
            },
        ),
        *_gpus(app),
    ]


def _events(app: InferenceApp) -> list[Panel]:
    mine = names.own(app)
    seconds = {
        f"p{quantile}": f"histogram_quantile(0.{quantile}, sum by (le) (rate({names.EVENT_SECONDS}_bucket{mine}[5m])))"
        for quantile in (50, 95, 99)
    }
    cold = f"histogram_quantile(0.95, sum by (le) (rate({names.COLD_START}_bucket{mine}[1h])))"
    return [
        ("Events a second", "reqps", {"{{outcome}}": f"sum by (outcome) (rate({names.EVENTS}{mine}[5m]))"}),
        ("Events that wait", "short", {"lag": names.lag(app)}),
        ("From event to answer", "s", seconds),
        ("Cold start", "s", {"p95": cold}),
        ("Dead letters", "short", {"{{reason}}": f"sum by (reason) (increase({names.DEAD_LETTERS}{mine}[1h]))"}),
    ]


def _gpus(app: InferenceApp) -> list[Panel]:
    """NVIDIA's exporter names the pods that hold a GPU; without one asked for there is nothing to see."""
    if not app.spec.predictor.resources.gpu:
        return []
    query = f'avg by (exported_pod) ({names.GPU}{{exported_namespace="{app.namespace}",exported_pod=~"{app.name}-.+"}})'
    return [("GPU use", "percent", {"{{exported_pod}}": query})]


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    title, unit, queries = panel
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": dict(_SOURCE),
        "gridPos": {"x": number % 2 * _WIDTH, "y": number // 2 * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": dict(_SOURCE), "expr": query, "legendFormat": legend}
            for place, (legend, query) in enumerate(queries.items())
        ],
    }
