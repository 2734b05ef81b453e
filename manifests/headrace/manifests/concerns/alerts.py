"""When somebody is told: a ``PrometheusRule`` with what costs events, time or money."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.manifests.concerns import metric_names as names
from headrace.manifests.concerns.places import has_dispatcher, model_roles
from headrace.manifests.quantity import format_duration
from headrace.manifests.resource import Resource, metadata, resource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.manifests.options import RenderOptions
    from headrace.manifests.parts.observability import Alerts
    from headrace.manifests.spec import InferenceApp

_BURN = (("1h", "5m", 14.4, "2m", "critical"), ("6h", "30m", 6, "15m", "warning"))
"""Long and short window, how many times too fast the budget of a month burns, for how long, how bad: 14.4 spends a
fiftieth of it in an hour, 6 a twentieth in six."""
RUNBOOKS = "https://github.com/headrace/headrace/tree/main/docs/runbooks"
"""Where each alert's page lies: below the project's documentation, as its metadata has it."""
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
"""Upper bounds of the buckets of publish to result, in seconds."""
_FLAPS = 12
"""Changes of the replica count in half an hour from which on scaling is restless."""


@dataclass(frozen=True, slots=True)
class _Alert:
    name: str
    expr: str
    lasts: str
    severity: str
    summary: str
    remedy: str
    page: str
    """The runbook, without its folder and `.md`."""


def alerts(app: InferenceApp, options: RenderOptions) -> list[Resource]:  # noqa: ARG001  # a concern's signature
    """The PrometheusRule of the app; none without metrics."""
    part = app.spec.metrics
    if part is None:
        return []
    found = [*_scaling(app)]
    if has_dispatcher(app):
        found = [
            *_lag(app, part.alerts),
            *_dead_letters(app),
            *_burn(app, part.alerts),
            *_late(app, part.alerts),
            *_cold(app, part.alerts),
            *found,
        ]
    found += _exporters(app)
    about = metadata(app, f"{app.name}-alerts", "metrics")
    about["labels"] = {**part.labels, **about["labels"]}
    group = {"name": f"headrace.{app.namespace}.{app.name}", "rules": [_rule(app, each) for each in found]}
    return [resource("monitoring.coreos.com/v1", "PrometheusRule", about, spec={"groups": [group]})]


def _rule(app: InferenceApp, alert: _Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.lasts,
        "labels": {"severity": alert.severity, "app": app.name, "namespace": app.namespace},
        "annotations": {
            "summary": f"{app.namespace}/{app.name}: {alert.summary}",
            "description": alert.remedy,
            "runbook_url": f"{RUNBOOKS}/{alert.page}.md",
        },
    }


def _lag(app: InferenceApp, part: Alerts) -> Iterator[_Alert]:
    lag = names.lag(app)
    for role in ("dispatcher", *model_roles(app)):
        nobody = f"(sum({names.replicas(app, names.AVAILABLE, role)}) or vector(0)) == 0"
        yield _Alert(
            f"HeadraceNo{role.capitalize()}",
            f"({lag} > 0) and on() ({nobody})",
            format_duration(part.lag_for),
            "critical",
            f"events wait and no {role} runs",
            "Look at the pods' events: no node with a free GPU, an image or a model that cannot be fetched, a quota.",
            "no-replica",
        )
    yield _Alert(
        "HeadraceLagGrows",
        f'({lag} > 0) and on() (sum(deriv({names.KEDA_LAG}{{scaledObject="{app.name}-dispatcher"}}[15m])) > 0)',
        "30m",
        "warning",
        "events come faster than they are answered",
        "Raise scale.max or partitions, or batch more: the dashboard shows which of them is at its bound.",
        "lag-grows",
    )


def _dead_letters(app: InferenceApp) -> Iterator[_Alert]:
    yield _Alert(
        "HeadraceDeadLetters",
        f"sum(increase({names.DEAD_LETTERS}{names.own(app)}[10m])) > 0",
        "0s",
        "warning",
        "events failed for good",
        f"headrace dead-letters list --topic {app.spec.trigger.dead_letter_topic} says which and why.",
        "dead-letters",
    )
    yield _Alert(
        "HeadraceDeadLetterFailure",
        f"sum(increase({names.DEAD_LETTER_FAILURES}{names.own(app)}[5m])) > 0",
        "0s",
        "critical",
        "a dead letter cannot be written, its partition waits",
        "The topic is missing, full, or not allowed to the app's user; nothing is lost while it waits.",
        "dead-letter-failure",
    )


def _burn(app: InferenceApp, part: Alerts) -> Iterator[_Alert]:
    budget = f"{1 - part.objective:.6g}"
    for long, short, factor, lasts, severity in _BURN:
        both = (f"({_failed(app, window)}) > ({factor:g} * {budget})" for window in (long, short))
        yield _Alert(
            f"HeadraceBudgetBurns{severity.capitalize()}",
            " and ".join(both),
            lasts,
            severity,
            f"more events fail than {part.objective:g} answered allows, {factor:g} times too fast",
            "The traces with an error show where; roll back if it began with a rollout.",
            "budget-burns",
        )


def _late(app: InferenceApp, part: Alerts) -> Iterator[_Alert]:
    """The budget of answers that may come late."""
    budget = f"{1 - part.objective:.6g}"
    bound = float(next(each for each in BOUNDS if each >= part.latency.total_seconds()))
    for long, short, factor, lasts, severity in _BURN:
        both = (f"({_over(app, bound, window)}) > ({factor:g} * {budget})" for window in (long, short))
        yield _Alert(
            f"HeadraceLatencyBurns{severity.capitalize()}",
            " and ".join(both),
            lasts,
            severity,
            f"more answers take over {bound:g} s than {part.objective:g} in time allows, {factor:g} times too fast",
            "headrace trace --slowest says where the time goes: waiting for a replica, in the queue, or in the model.",
            "latency-burns",
        )


def _over(app: InferenceApp, bound: float, window: str) -> str:
    """The share of answers that came later than this."""
    le = f'le="{bound}"'
    within = f"sum(rate({names.PUBLISHED}_bucket{names.own(app, le)}[{window}]))"
    return f"1 - {within} / sum(rate({names.PUBLISHED}_count{names.own(app)}[{window}]))"


def _exporters(app: InferenceApp) -> Iterator[_Alert]:
    """What is told of the work is lost; the work goes on."""
    full, failed = (f'error_type="{each}"' for each in ("queue_full", "export_failed"))
    lost = (
        f"sum(increase({names.SPANS_DROPPED}{names.own(app, full)}[10m]))",
        f"sum(increase({names.SPANS_EXPORTED}{names.own(app, failed)}[10m]))",
        f"sum(increase({names.USAGE_DROPPED}{names.own(app)}[10m]))",
    )
    yield _Alert(
        "HeadraceExporterDrops",
        " or ".join(f"({each} > 0)" for each in lost),
        "5m",
        "warning",
        "spans or usage are lost on their way",
        "The collector, or Kafka for usage, does not take them, or not fast enough; events are not touched.",
        "exporter-drops",
    )


def _failed(app: InferenceApp, window: str) -> str:
    """The share of events that ended as dead letters."""
    dead = f"sum(rate({names.EVENTS}{names.own(app, 'outcome=' + chr(34) + 'dead_letter' + chr(34))}[{window}]))"
    return f"{dead} / sum(rate({names.EVENTS}{names.own(app)}[{window}]))"


def _cold(app: InferenceApp, part: Alerts) -> Iterator[_Alert]:
    quantile = f"histogram_quantile(0.95, sum by (le) (rate({names.COLD_START}_bucket{names.own(app)}[1h])))"
    yield _Alert(
        "HeadraceColdStartOverBudget",
        f"{quantile} > {part.cold_start.total_seconds():g}",
        "10m",
        "warning",
        f"a cold start takes longer than {format_duration(part.cold_start)}",
        "Look at image size, node provisioning and the model's store; a cache or scale.min: 1 avoids it.",
        "cold-start",
    )


def _scaling(app: InferenceApp) -> Iterator[_Alert]:
    for role in model_roles(app):
        changes = f"sum(changes({names.replicas(app, names.WANTED, role)}[30m]))"
        yield _Alert(
            f"HeadraceRestless{role.capitalize()}",
            f"{changes} > {_FLAPS}",
            "10m",
            "warning",
            f"replicas of the {role} come and go",
            "Raise scale.idle, or scale.target, so that a burst does not start what it will not need.",
            "restless",
        )
    if has_dispatcher(app) and app.spec.predictor.scale.min == 0:
        yield _Alert(
            "HeadraceIdleReplica",
            f"(sum({names.replicas(app, names.AVAILABLE, 'predictor')}) > 0) "
            f"and on() (sum(rate({names.EVENTS}{names.own(app)}[30m])) == 0)",
            "1h",
            "info",
            "a replica is paid for and does nothing",
            "Something other than events keeps it awake: a probe from outside, an open connection.",
            "idle-replica",
        )
