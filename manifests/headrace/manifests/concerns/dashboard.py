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
    """Title, unit and queries by legend of each panel, along the way of an event."""
    before, after = (_arriving(app), _answered(app)) if has_dispatcher(app) else ([], [])
    roles = (*(("dispatcher",) if has_dispatcher(app) else ()), *model_roles(app))
    mine = names.own(app)
    return [
        *before,
        ("In the model's queue", "s", _quantiles(names.QUEUE, mine)),
        (
            "Batch size",
            "short",
            {
                "median": _quantile(names.BATCH, mine, 50),
                "mean": " / ".join(f"sum(rate({names.BATCH}_{part}{mine}[5m]))" for part in ("sum", "count")),
            },
        ),
        ("One run of the model", "s", _quantiles(names.RUN, mine)),
        *after,
        ("Replicas", "short", {role: f"sum({names.replicas(app, names.AVAILABLE, role)})" for role in roles}),
        ("Start of a process", "s", {"{{phase}}": f"max by (phase) ({names.START}{mine})"}),
        *_usage(app),
        *_gpus(app),
    ]


def _arriving(app: InferenceApp) -> list[Panel]:
    mine = names.own(app)
    return [
        ("Records read a second", "reqps", {"read": f"sum(rate({names.RECEIVED}{mine}[5m]))"}),
        ("Events that wait", "short", {"by KEDA": names.lag(app), "by the dispatcher": f"sum({names.LAG}{mine})"}),
        (
            "Ages",
            "s",
            {"oldest record in hand": f"max({names.OLDEST}{mine})", "last commit": f"max({names.COMMIT_AGE}{mine})"},
        ),
        (
            "Under way",
            "short",
            {
                "at the app": f"sum({names.IN_FLIGHT}{mine})",
                "{{model}}, {{app_kubernetes_io_component}}": (
                    f"sum by (model, app_kubernetes_io_component) ({names.TAKEN}{mine})"
                ),
            },
        ),
        (
            "Attempts that fail a second",
            "reqps",
            {
                "{{status}}": f"sum by (status) (rate({names.FAILED_ATTEMPTS}{mine}[5m]))",
                "tried again": f"sum(rate({names.RETRIES}{mine}[5m]))",
            },
        ),
    ]


def _answered(app: InferenceApp) -> list[Panel]:
    mine = names.own(app)
    return [
        ("Events done a second", "reqps", {"{{outcome}}": f"sum by (outcome) (rate({names.EVENTS}{mine}[5m]))"}),
        ("From publishing to the answer", "s", _quantiles(names.PUBLISHED, mine)),
        ("From the record's arrival to the answer", "s", _quantiles(names.EVENT_SECONDS, mine)),
        ("Cold start", "s", {"p95": _quantile(names.COLD_START, mine, 95, "1h")}),
        ("Dead letters", "short", {"{{reason}}": f"sum by (reason) (increase({names.DEAD_LETTERS}{mine}[1h]))"}),
    ]


def _usage(app: InferenceApp) -> list[Panel]:
    if app.spec.usage is None:
        return []
    query = f"sum by (phase) (rate({names.USAGE}{names.own(app)}[5m]))"
    return [("Replicas' time by what it goes to", "short", {"{{phase}}": query})]


def _quantiles(metric: str, mine: str) -> dict[str, str]:
    return {f"p{each}": _quantile(metric, mine, each) for each in (50, 95, 99)}


def _quantile(metric: str, mine: str, percent: int, window: str = "5m") -> str:
    return f"histogram_quantile(0.{percent}, sum by (le) (rate({metric}_bucket{mine}[{window}])))"


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
