"""What is scraped, when somebody is told, what a dashboard shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from pydantic import ValidationError

from headrace.eventing.metrics import DispatchMetrics
from headrace.manifests.concerns import metric_names
from headrace.manifests.concerns.alerts import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headrace.manifests.resource import Resource
    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]
    Render = Callable[..., list[Resource]]

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian's prometheus) is not on the PATH")
METRIC = re.compile(r"\b((?:headrace|keda|kube|otel)_\w+|DCGM_\w+)")
DOCS = Path(__file__).parents[3] / "docs"
WARM = {"predictor": {"scale": {"min": 0, "max": 4}, "resources": {"gpu": 1}}}
MINE = 'namespace="vision",app_kubernetes_io_name="picture-labels"'


def rules(found: list[Resource]) -> dict[str, dict[str, Any]]:
    """The alerts by name."""
    (rule,) = [each for each in found if each["kind"] == "PrometheusRule"]
    (group,) = rule["spec"]["groups"]
    return {each["alert"]: each for each in group["rules"]}


def queries(found: list[Resource]) -> list[str]:
    """Every query of alerts and dashboard."""
    return [each["expr"] for each in rules(found).values()] + [
        target["expr"] for panel in board(found)["panels"] for target in panel["targets"]
    ]


def board(found: list[Resource]) -> dict[str, Any]:
    """The dashboard."""
    (config,) = [each for each in found if each["metadata"]["labels"].get("grafana_dashboard") == "1"]
    (text,) = config["data"].values()
    read: dict[str, Any] = json.loads(text)
    return read


def test_monitors_find_the_pods_that_are_rendered(plain: MakeApp, resources: Render) -> None:
    """Each kind of pod by one monitor, at a port that it has; the pod's labels come along, by which alerts ask."""
    found = resources(plain(metrics={}))
    monitors = [each["spec"] for each in found if each["kind"] == "PodMonitor"]
    (service,) = [each["spec"] for each in found if each["kind"] == "InferenceService"]
    (deployment,) = [each["spec"]["template"] for each in found if each["kind"] == "Deployment"]
    pods = [(deployment["metadata"]["labels"], deployment["spec"])]
    pods += [(service[role]["labels"], service[role]) for role in ("predictor", "transformer")]
    for labels, pod in pods:
        (monitor,) = [each for each in monitors if selects(each["selector"], labels)]
        assert set(monitor["podTargetLabels"]) == {"app.kubernetes.io/name", "app.kubernetes.io/component"}
        declared = {port["containerPort"] for container in pod["containers"] for port in container["ports"]}
        # The queue-proxy's port is put in by Knative.
        assert {each["portNumber"] for each in monitor["podMetricsEndpoints"] if "portNumber" in each} <= declared
    env = {each["name"]: each.get("value") for each in deployment["spec"]["containers"][0]["env"]}
    assert env["HEADRACE_METRICS_PORT"] == "9464"


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a selector takes these labels."""
    exact = selector["matchLabels"].items() <= labels.items()
    return exact and all(labels.get(each["key"]) in each["values"] for each in selector["matchExpressions"])


@pytest.mark.parametrize(("ip", "address"), [("10.1.2.3", "10.1.2.3:15020"), ("fd00::7", "[fd00::7]:15020")])
def test_behind_a_sidecar_its_own_page_is_read(plain: MakeApp, resources: Render, ip: str, address: str) -> None:
    """At the pod's address, of either kind, with the app's own metrics in it."""
    found = resources(plain(metrics={}, mesh={}))
    for monitor in (each for each in found if each["kind"] == "PodMonitor"):
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        made = "10.0.0.1:1"
        for each in endpoint["relabelings"]:
            assert each["sourceLabels"] == ["__meta_kubernetes_pod_ip"]
            if match := re.fullmatch(each["regex"], ip):
                made = match.expand(each["replacement"].replace("$", "\\"))
        assert (made, endpoint["path"]) == (address, "/stats/prometheus")
    (service,) = [each["spec"] for each in found if each["kind"] == "InferenceService"]
    annotations = service["predictor"]["annotations"]
    assert annotations["prometheus.io/port"] == "8080"
    assert annotations["prometheus.io/path"] == "/metrics"


def test_where_knative_delivers_nothing_asks_for_a_dispatcher(plain: MakeApp, resources: Render) -> None:
    """Its metrics would be missing for ever."""
    found = resources(plain(metrics={}, trigger={"delivery": "knative-broker"}))
    assert set(rules(found)) == {
        "HeadraceRestlessTransformer", "HeadraceRestlessPredictor", "HeadraceExporterDrops",
    }  # fmt: skip
    assert [each["metadata"]["name"] for each in found if each["kind"] == "PodMonitor"] == ["picture-labels-models"]
    assert {panel["title"] for panel in board(found)["panels"]} == {
        "In the model's queue", "Batch size", "One run of the model", "Replicas", "Start of a process",
    }  # fmt: skip


def test_in_one_pod_both_servers_are_scraped(plain: MakeApp, resources: Render) -> None:
    """The second one's port is not declared: Knative takes one port a service."""
    app = plain(metrics={}, transformer={"collocated": True, "scale": None})
    (monitor,) = [each for each in resources(app, "PodMonitor") if each["metadata"]["name"].endswith("-models")]
    moved = monitor["spec"]["podMetricsEndpoints"][-1]
    assert [each["replacement"] for each in moved["relabelings"]] == ["$1:8085", "[$1]:8085"]


def test_prometheus_finds_monitors_by_the_users_labels(plain: MakeApp, resources: Render) -> None:
    """Most installations pick what bears the release's name; Headrace's own labels stay as they are."""
    app = plain(metrics={"labels": {"release": "kube-prometheus-stack"}, "interval": "30s"})
    for kind in ("PodMonitor", "PrometheusRule"):
        for each in resources(app, kind):
            assert each["metadata"]["labels"]["release"] == "kube-prometheus-stack"
            assert each["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "headrace"
    for each in resources(app, "PodMonitor"):
        assert {one["interval"] for one in each["spec"]["podMetricsEndpoints"]} == {"30s"}


def test_somebody_is_told_of_what_costs_events_time_or_money(plain: MakeApp, resources: Render) -> None:
    """Lag without a replica, dead letters and their failure, a budget that burns, slow cold starts, restlessness."""
    found = rules(resources(plain(metrics={}, **WARM)))
    assert set(found) == {
        "HeadraceNoDispatcher", "HeadraceNoTransformer", "HeadraceNoPredictor", "HeadraceLagGrows",
        "HeadraceDeadLetters", "HeadraceDeadLetterFailure", "HeadraceBudgetBurnsCritical",
        "HeadraceBudgetBurnsWarning", "HeadraceColdStartOverBudget", "HeadraceRestlessTransformer",
        "HeadraceLatencyBurnsCritical", "HeadraceLatencyBurnsWarning", "HeadraceExporterDrops",
        "HeadraceRestlessPredictor", "HeadraceIdleReplica",
    }  # fmt: skip
    for each in found.values():
        assert each["labels"]["severity"] in ("critical", "warning", "info")
        assert each["labels"]["namespace"] == "vision"
        assert each["annotations"]["summary"].startswith("vision/picture-labels: ")
        assert each["annotations"]["description"]


def test_figures_are_the_apps(plain: MakeApp, resources: Render) -> None:
    """Objective, cold start and patience stand in the queries."""
    part = {"alerts": {"objective": 0.999, "coldStart": "90s", "lagFor": "7m"}}
    found = rules(resources(plain(metrics=part)))
    assert found["HeadraceNoPredictor"]["for"] == "7m"
    assert found["HeadraceColdStartOverBudget"]["expr"].endswith("> 90")
    assert found["HeadraceBudgetBurnsCritical"]["expr"].count("(14.4 * 0.001)") == 2


def test_an_app_kept_warm_is_not_told_that_it_is_idle(plain: MakeApp, resources: Render) -> None:
    """Its replica is wanted."""
    app = plain(metrics={}, predictor={"scale": {"min": 1, "max": 4}})
    assert "HeadraceIdleReplica" not in rules(resources(app))


def test_every_query_asks_for_one_app_and_known_metrics(plain: MakeApp, resources: Render) -> None:
    """Another app's trouble is not this one's; a misspelt metric would be silent for ever."""
    known = {*metric_names.OURS, metric_names.KEDA_LAG, metric_names.AVAILABLE, metric_names.WANTED, metric_names.GPU}
    for query in queries(resources(plain(metrics={}, **WARM))):
        used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in METRIC.findall(re.sub(r'"[^"]*"', "", query))}
        assert used
        assert used <= known, query
        for selector in re.findall(r"\{[^{}]*\}", query):
            assert "picture-labels" in selector, query


def test_every_alert_has_its_page(plain: MakeApp, resources: Render) -> None:
    """The link leads below the project's documentation, to a file that is there and names the alert."""
    project = metadata.metadata("headrace").get_all("Project-URL") or []
    (documentation,) = [each.partition(", ")[2] for each in project if each.startswith("Documentation")]
    for name, alert in rules(resources(plain(metrics={}, **WARM))).items():
        url = alert["annotations"]["runbook_url"]
        assert url.startswith(f"{documentation}/runbooks/")
        page = DOCS / url.removeprefix(f"{documentation}/")
        known = re.sub(r"(No)\w+|(Restless)\w+|(Burns)\w+", r"\1\2\3", name)
        assert known in page.read_text(encoding="utf-8"), page


def test_latency_is_asked_for_at_a_bound_that_is_counted(plain: MakeApp, resources: Render) -> None:
    """A bucket that does not exist would be silent for ever: the next one up is asked for."""
    found = rules(resources(plain(metrics={"alerts": {"latency": "7s"}})))
    assert found["HeadraceLatencyBurnsCritical"]["expr"].count('le="10.0"') == 2
    counted = DispatchMetrics().page().decode()
    for bound in BOUNDS:
        assert f'publish_to_result_seconds_bucket{{le="{float(bound)}"}}' in counted


def test_queries_ask_for_metrics_and_labels_that_are_served() -> None:
    """Every name of Headrace's own stands in docs/metrics.md, which a test holds to the code."""
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    for name in metric_names.OURS:
        assert f"`{name}`" in text, name


def test_grafana_knows_every_field_of_the_dashboard(plain: MakeApp, resources: Render) -> None:
    """Read by the types that Grafana publishes of its schema, and written again, nothing is missing."""
    found = board(resources(plain(metrics={}, usage={}, **WARM)))
    again = json.loads(json.dumps(Dashboard.from_json(found), cls=JSONEncoder))
    assert list(_lost(found, again)) == []
    assert list(_lost({"panels": [{"nonsense": 1}]}, again)), "what is not there would be seen"


def _lost(given: Any, kept: Any, place: str = "") -> Iterator[str]:
    if isinstance(given, dict):
        for key, value in given.items():
            yield from _lost(value, kept.get(key) if isinstance(kept, dict) else None, f"{place}.{key}")
    elif isinstance(given, list):
        for at, value in enumerate(given):
            yield from _lost(value, kept[at] if isinstance(kept, list) and at < len(kept) else None, f"{place}[{at}]")
    elif given != kept:
        yield f"{place}: {given!r} is {kept!r}"


def test_every_query_is_promql(plain: MakeApp, resources: Render) -> None:
    """Grammar, functions and types hold; and a parser that took anything would prove nothing."""
    found = queries(resources(plain(metrics={}, **WARM)))
    assert len(found) > 15
    for query in found:
        promql_parser.parse(query)
    for wrong in ('rate(a{b="c"})', "sum(a", "a{b=c}", "a[5x]", "nothing_known(a)"):
        with pytest.raises(ValueError, match=r"."):
            promql_parser.parse(wrong)


def test_the_dashboard_keeps_its_address(plain: MakeApp, resources: Render) -> None:
    """Links and bookmarks hold after a deploy; a GPU's use is shown where there is one."""
    cold, warm = (board(resources(plain(metrics={}, **spec))) for spec in ({}, WARM))
    assert cold["uid"] == warm["uid"]
    assert len(cold["uid"]) <= 40
    titles = [panel["title"] for panel in warm["panels"]]
    assert set(titles) - {panel["title"] for panel in cold["panels"]} == {"GPU use"}
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in warm["panels"]}
    assert len(places) == len({panel["id"] for panel in warm["panels"]}) == len(titles)


@pytest.mark.parametrize("part", [{"interval": "1h"}, {"alerts": {"objective": 1}}, {"alerts": {"lagFor": "1s"}}])
def test_figures_out_of_bounds_are_refused(plain: MakeApp, part: dict[str, Any]) -> None:
    """An objective of all leaves no budget."""
    with pytest.raises(ValidationError):
        plain(metrics=part)


def promtool(*args: str) -> None:
    """Run promtool; its complaint is the failure."""
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *args], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_reads_every_query(plain: MakeApp, resources: Render, tmp_path: Path) -> None:
    """Of alerts, as they are, and of the dashboard, as recording rules."""
    found = resources(plain(metrics={}, **WARM))
    (rule,) = [each for each in found if each["kind"] == "PrometheusRule"]
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(rule["spec"]))
    panels = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries(found))]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": panels}]}))
    promtool("check", "rules", str(tmp_path / "alerts.yaml"), str(tmp_path / "panels.yaml"))


LAG = 'keda_scaler_metrics_value{exported_namespace="vision",scaledObject="picture-labels-dispatcher"}'
REVISION = 'namespace="vision",deployment="picture-labels-predictor-00001-deployment"'
RUNNING = f"kube_deployment_status_replicas_available{{{REVISION}}}"
WANTED = f"kube_deployment_spec_replicas{{{REVISION}}}"
ANSWERED = f'headrace_dispatcher_events_total{{{MINE},outcome="answered"}}'
FAILED = f'headrace_dispatcher_events_total{{{MINE},outcome="dead_letter"}}'
LETTERS = f"headrace_dispatcher_dead_letters_total{{{MINE}}}"
LOST = f"headrace_dispatcher_dead_letter_failures_total{{{MINE}}}"
IN_TIME = f'headrace_dispatcher_publish_to_result_seconds_bucket{{{MINE},le="30.0"}}'
IN_ALL = f"headrace_dispatcher_publish_to_result_seconds_count{{{MINE}}}"
SPANS = f'otel_sdk_processor_span_processed_total{{{MINE},error_type="queue_full"}}'
UNTAKEN = f'otel_sdk_exporter_span_exported_total{{{MINE},error_type="export_failed"}}'
UNTOLD = f"headrace_usage_dropped_total{{{MINE}}}"
CASES: list[tuple[str, str, dict[str, str], bool]] = [
    ("HeadraceNoPredictor", "10m", {LAG: "5x20", RUNNING: "0x20"}, True),
    ("HeadraceNoPredictor", "10m", {LAG: "5x20"}, True),
    ("HeadraceNoPredictor", "10m", {LAG: "5x20", RUNNING: "1x20"}, False),
    ("HeadraceNoPredictor", "10m", {LAG: "0x20", RUNNING: "0x20"}, False),
    ("HeadraceNoPredictor", "3m", {LAG: "5x20", RUNNING: "0x20"}, False),
    ("HeadraceNoPredictor", "10m", {LAG.replace("exported_", ""): "5x20"}, True),
    ("HeadraceNoPredictor", "10m", {LAG.replace("vision", "other"): "5x20"}, False),
    ("HeadraceLagGrows", "55m", {LAG: "1+10x60"}, True),
    ("HeadraceLagGrows", "55m", {LAG: "600-10x60"}, False),
    ("HeadraceDeadLetters", "20m", {LETTERS: "0+1x20"}, True),
    ("HeadraceDeadLetters", "20m", {LETTERS: "7x20"}, False),
    ("HeadraceDeadLetterFailure", "9m", {LOST: "0+1x20"}, True),
    ("HeadraceBudgetBurnsCritical", "90m", {ANSWERED: "0+80x90", FAILED: "0+20x90"}, True),
    ("HeadraceBudgetBurnsCritical", "90m", {ANSWERED: "0+99x90", FAILED: "0+1x90"}, False),
    ("HeadraceRestlessPredictor", "45m", {WANTED: "0 1 " * 24}, True),
    ("HeadraceRestlessPredictor", "45m", {WANTED: "0x20 1x40"}, False),
    ("HeadraceIdleReplica", "2h", {RUNNING: "1x150", ANSWERED: "9x150"}, True),
    ("HeadraceIdleReplica", "2h", {RUNNING: "1x150", ANSWERED: "0+1x150"}, False),
    ("HeadraceLatencyBurnsCritical", "90m", {IN_TIME: "0+50x90", IN_ALL: "0+100x90"}, True),
    ("HeadraceLatencyBurnsCritical", "90m", {IN_TIME: "0+99x90", IN_ALL: "0+100x90"}, False),
    ("HeadraceExporterDrops", "30m", {SPANS: "0+1x40"}, True),
    ("HeadraceExporterDrops", "30m", {SPANS: "9x40"}, False),
    ("HeadraceExporterDrops", "30m", {SPANS.replace("queue_full", ""): "0+1x40"}, False),
    ("HeadraceExporterDrops", "30m", {UNTAKEN: "0+1x40"}, True),
    ("HeadraceExporterDrops", "30m", {UNTOLD: "0+1x40"}, True),
]
"""Alert, when it is looked at, series a minute, and whether it fires."""


@needs_promtool
@pytest.mark.parametrize("case", CASES)
def test_alerts_fire_when_they_should(
    plain: MakeApp, resources: Render, tmp_path: Path, case: tuple[str, str, dict[str, str], bool]
) -> None:
    """Prometheus itself is asked, minute by minute."""
    name, at, series, fires = case
    alert = rules(resources(plain(metrics={}, **WARM)))[name]
    ask(tmp_path, alert, at, [{"series": each, "values": values.strip()} for each, values in series.items()], fires)


@needs_promtool
def test_a_slow_cold_start_is_told(plain: MakeApp, resources: Render, tmp_path: Path) -> None:
    """Where the 95th percentile lies over the budget: here nine of ten events waited five minutes."""
    name = "headrace_dispatcher_cold_start_seconds_bucket"
    series = [
        {"series": f'{name}{{{MINE},le="60"}}', "values": "0+1x90"},
        {"series": f'{name}{{{MINE},le="600"}}', "values": "0+10x90"},
        {"series": f'{name}{{{MINE},le="+Inf"}}', "values": "0+10x90"},
    ]
    alert = rules(resources(plain(metrics={})))["HeadraceColdStartOverBudget"]
    ask(tmp_path, alert, "80m", series, True)


def ask(folder: Path, alert: dict[str, Any], at: str, series: list[dict[str, str]], fires: bool) -> None:
    """Whether the alert fires then, by promtool's own unit test."""
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [alert]}]}))
    expected = [{"exp_labels": alert["labels"], "exp_annotations": alert["annotations"]}] if fires else []
    check = {"eval_time": at, "alertname": alert["alert"], "exp_alerts": expected}
    case = {"interval": "1m", "input_series": series, "alert_rule_test": [check]}
    (folder / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [case]}))
    promtool("test", "rules", str(folder / "test.yaml"))
