"""What the doctor finds, each with its fix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headrace.manifests.cluster.doctor.examine import errors, examine
from headrace.manifests.cluster.doctor.finding import Finding
from headrace.manifests.cluster.doctor.gpus import Need, misfit
from headrace.manifests.cluster.doctor.versions import versions
from headrace.manifests.cluster.plan import Plan, plan_of
from headrace.manifests.cluster.reference import Reference
from headrace.manifests.options import RenderOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]

GPU = {"predictor": {"resources": {"gpu": 2}, "nodes": {"selector": {"pool": "gpu"}, "tolerations": [{"key": "gpu"}]}}}
TRACED = {"tracing": {"endpoint": "http://otel.lab:4318"}}


@pytest.fixture
def sound(cluster: Any) -> Any:
    """A cluster that has what a small app needs."""
    listeners = [{"addresses": [{"host": "kafka-kafka-bootstrap.kafka.svc", "port": 9092}]}]

    def furnish() -> None:
        cluster.store.put(
            {
                "apiVersion": "kafka.strimzi.io/v1",
                "kind": "Kafka",
                "metadata": {"name": "kafka", "namespace": "kafka"},
                "spec": {},
            }
        )
        conditions = [{"type": "Ready", "status": "True"}]
        cluster.store.set_status("Kafka", "kafka", "kafka", conditions=conditions, listeners=listeners)

    cluster.call(lambda: cluster.controllers.ignore("Kafka"))
    cluster.call(furnish)
    return cluster


def found(cluster: Any, *apps: InferenceApp, options: RenderOptions | None = None) -> list[Finding]:
    """What the doctor finds."""
    chosen = options or RenderOptions()
    plan = plan_of(apps, chosen) if apps else Plan(())
    findings: list[Finding] = cluster.run(lambda api: examine(api, plan, apps, chosen))
    return findings


def only_error(findings: list[Finding]) -> Finding:
    """The one error, which has a fix."""
    (error,) = errors(findings)
    assert error.fix
    return error


def node(name: str, gpus: int, *, taint: str = "", **labels: str) -> dict[str, Any]:
    """A node with GPUs."""
    taints = [{"key": taint, "effect": "NoSchedule"}] if taint else []
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints},
        "status": {"allocatable": {"cpu": "8", **({"nvidia.com/gpu": str(gpus)} if gpus else {})}},
    }


def features(cluster: Any, version: str = "1.23.0", **values: str) -> None:
    """Knative's feature flags."""
    data = {f"kubernetes.podspec-{name}": value for name, value in values.items()}
    labels = {"app.kubernetes.io/version": version}
    about = {"name": "config-features", "namespace": "knative-serving", "labels": labels}
    cluster.call(lambda: cluster.store.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": data}))


def test_a_sound_cluster_has_no_findings_but_good_ones(sound: Any, app_of: MakeApp) -> None:
    """Each question has its answer."""
    findings = found(sound, app_of())
    assert {each.level for each in findings} == {"ok"}
    assert {each.about for each in findings} == {"kubernetes", "kinds", "namespaces", "rights", "settings", "kafka"}


@pytest.mark.parametrize(
    ("version", "level"),
    [("1.31", "error"), ("1.32", "ok"), ("1.36", "ok"), ("1.37", "warning"), ("2.0", "warning"), ("?", "warning")],
)
def test_the_version_of_kubernetes(version: str, level: str) -> None:
    """Older than what is tested is an error, newer is not known to be one."""
    assert [each.level for each in versions(version)] == [level]


def test_a_missing_product_is_named(sound: Any, app_of: MakeApp) -> None:
    """By the kind that is needed, and what to install."""
    sound.call(lambda: sound.store.kinds.pop(("keda.sh/v1alpha1", "ScaledObject")))
    sound.call(lambda: sound.store.kinds.pop(("keda.sh/v1alpha1", "TriggerAuthentication")))
    error = only_error(found(sound, app_of()))
    assert "ScaledObject" in error.message
    assert error.fix == "install KEDA"


def test_a_version_that_is_not_served_is_told_with_those_that_are(sound: Any, app_of: MakeApp) -> None:
    """An older release is there: it is to be upgraded, not installed beside."""

    def older() -> None:
        for kind in ("Kafka", "KafkaTopic", "KafkaUser"):
            known = sound.store.kinds.pop(("kafka.strimzi.io/v1", kind))
            sound.store.kinds["kafka.strimzi.io/v1beta2", kind] = known

    sound.call(older)
    error = only_error(found(sound, app_of()))
    assert "not served as kafka.strimzi.io/v1; of kafka.strimzi.io there is v1beta2" in error.message
    assert "a release of Strimzi" in error.fix


def test_a_namespace_that_is_not_there(sound: Any, app_of: MakeApp) -> None:
    """With both ways to have it."""
    error = only_error(found(sound, app_of(metadata={"namespace": "lab"})))
    assert error.message == "namespace lab is not there"
    assert "kubectl create namespace lab" in error.fix
    assert not errors(found(sound, app_of(metadata={"namespace": "lab"}, spec={"isolation": {}})))
    sound.call(lambda: sound.store.delete(Reference("v1", "Namespace", "", "kafka")))
    assert only_error(found(sound, app_of())).fix == "install what lives in kafka; of Kafka, is --kafka right?"


def test_missing_rights_are_told_together(sound: Any, app_of: MakeApp) -> None:
    """One finding a namespace and set of verbs."""
    sound.call(
        lambda: sound.store.forbidden.append(
            lambda access: access.namespace == "kafka" and access.verb in ("*", "patch", "create")
        )
    )
    error = only_error(found(sound, app_of()))
    assert error.message == "you may not create, patch KafkaTopic in namespace kafka"


def test_feature_flags_that_the_app_needs(sound: Any, app_of: MakeApp) -> None:
    """With the command that sets them; Knative takes `allowed` and `Enabled` as well."""
    app = app_of(spec=GPU)
    sound.call(lambda: sound.store.put(node("g", 4, taint="gpu", pool="gpu")))
    features(sound, tolerations="disabled")
    error = only_error(found(sound, app))
    assert "kubernetes.podspec-nodeselector: enabled" in error.message
    assert error.fix == (
        "kubectl patch configmap config-features -n knative-serving --type merge -p "
        '\'{"data":{"kubernetes.podspec-nodeselector":"enabled","kubernetes.podspec-tolerations":"enabled"}}\''
    )
    features(sound, tolerations="Enabled", nodeselector="allowed")
    assert not errors(found(sound, app))


def test_an_initial_scale_of_none_must_be_allowed(sound: Any, app_of: MakeApp) -> None:
    """Knative's webhook refuses the revision otherwise."""
    about = {"name": "config-autoscaler", "namespace": "knative-serving"}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about}
    sound.call(lambda: sound.store.put({**settings, "data": {}}))
    app = app_of(spec={"predictor": {"scale": {"initial": 0}}})
    assert "allow-zero-initial-scale: true" in only_error(found(sound, app)).message
    sound.call(lambda: sound.store.put({**settings, "data": {"allow-zero-initial-scale": "true"}}))
    assert not errors(found(sound, app))


def test_other_settings_are_warnings(sound: Any, app_of: MakeApp) -> None:
    """The app works without its traces; a Knative that is elsewhere or may not be read is no error either."""
    absent = found(sound, app_of(spec=TRACED))
    assert not errors(absent)
    assert any("config-observability is not there" in each.message for each in absent)
    sound.call(
        lambda: sound.store.put(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "config-observability", "namespace": "knative-serving"},
                "data": {},
            }
        )
    )
    lacking = [each for each in found(sound, app_of(spec=TRACED)) if each.level == "warning"]
    assert any("tracing-endpoint: http://otel.lab:4318/v1/traces" in each.message for each in lacking)
    sound.call(lambda: sound.store.forbidden.append(lambda access: access.namespace == "knative-serving"))
    unread = found(sound, app_of(spec=TRACED))
    assert not errors(unread)
    assert any("cannot be looked at" in each.message for each in unread)


def test_an_old_knative_is_a_warning(sound: Any, app_of: MakeApp) -> None:
    """It says its version in the labels of its ConfigMaps."""
    sound.call(lambda: sound.store.put(node("g", 4, taint="gpu", pool="gpu")))
    features(sound, "1.18.1", tolerations="enabled", nodeselector="enabled")
    assert any(each.message == "version 1.18.1 is older than 1.23" for each in found(sound, app_of(spec=GPU)))


@pytest.mark.parametrize(
    ("image", "level"),
    [
        ("kserve/kserve-controller:v0.15.2", "warning"), ("registry.lab:5000/kserve-controller:v0.21.0", "ok"),
        ("kserve-controller:v1.0.0-rc1", "ok"), ("kserve/kserve-controller:latest", ""),
        ("registry.lab:5000/kserve-controller@sha256:00", ""),
    ],
)  # fmt: skip
def test_an_old_kserve_is_a_warning(image: str, level: str, sound: Any, app_of: MakeApp) -> None:
    """Its controller's image says which it is; where it does not, nothing is guessed."""
    pod = {"spec": {"containers": [{"name": "manager", "image": image}, {"name": "proxy", "image": "proxy:v0.1"}]}}
    about = {"name": "kserve-controller-manager", "namespace": "kserve"}
    controller = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": about, "spec": {"template": pod}}
    sound.call(lambda: sound.store.put(controller))
    assert [each.level for each in found(sound, app_of()) if each.about == "kserve"] == ([level] if level else [])


def test_a_gpu_that_no_node_has(sound: Any, app_of: MakeApp) -> None:
    """What comes nearest is told; where nodes are added by themselves nobody can be sure."""
    features(sound, tolerations="enabled", nodeselector="enabled")
    app = app_of(spec=GPU)
    sound.call(lambda: sound.store.put(node("plain", 0)))
    assert "no node has any" in only_error(found(sound, app)).message
    sound.call(lambda: sound.store.put(node("small", 1, pool="gpu")))
    error = only_error(found(sound, app))
    assert error.message == (
        "default/echo predictor asks for 2 nvidia.com/gpu, and no node can take it: small has 1 nvidia.com/gpu"
    )
    about = {"name": "cluster-autoscaler-status", "namespace": "kube-system"}
    sound.call(lambda: sound.store.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about}))
    assert not errors(found(sound, app))
    sound.call(lambda: sound.store.put(node("right", 2, taint="gpu", pool="gpu")))
    assert any("fit on 1 of 3 nodes" in each.message for each in found(sound, app))


def test_a_model_cache_needs_its_nodes(sound: Any, app_of: MakeApp) -> None:
    """KServe keeps none unless it is told to, and on groups of nodes that somebody made."""
    app = app_of(spec={"predictor": {"model": "s3://m/one", "cache": {"size": "1Gi", "nodeGroups": ["fast"]}}})
    group = {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "LocalModelNodeGroup", "spec": {}}
    sound.call(lambda: sound.store.put({**group, "metadata": {"name": "slow"}}))
    about = {"name": "inferenceservice-config", "namespace": "kserve"}
    for said, on in (({}, False), ({"localModel": "{"}, False), ({"localModel": '{"enabled": true}'}, True)):
        settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": said}
        sound.call(lambda settings=settings: sound.store.put(settings))
        findings = found(sound, app)
        warned = any(each.message.startswith("KServe keeps no models") for each in findings)
        assert warned is not on
        assert only_error(findings).message == "there is no LocalModelNodeGroup fast; there is slow"
    sound.call(lambda: sound.store.put({**group, "metadata": {"name": "fast"}}))
    assert Finding("ok", "model cache", "on, with fast") in found(sound, app)


NEED = Need("p", {"nvidia.com/gpu": 2}, {"pool": "gpu"}, ({"key": "gpu", "operator": "Exists"},))


@pytest.mark.parametrize(
    ("live", "why"),
    [
        (node("n", 2, pool="gpu"), ""),
        (node("n", 2, taint="gpu", pool="gpu"), ""),
        (node("n", 2, taint="spot", pool="gpu"), "is tainted spot:NoSchedule"),
        (node("n", 2), "is not pool=gpu"),
        (node("n", 1, pool="gpu"), "has 1 nvidia.com/gpu"),
        (node("n", 0, pool="gpu"), "no nvidia.com/gpu"),
        ({**node("n", 2, pool="gpu"), "spec": {"unschedulable": True}}, "is cordoned"),
        (
            {**node("n", 2, pool="gpu"), "spec": {"taints": [{"key": "x", "effect": "PreferNoSchedule"}]}},
            "",
        ),
    ],
)
def test_whether_a_node_can_take_a_pod(live: dict[str, Any], why: str) -> None:
    """Devices, selector, taints, cordon: in the scheduler's sense."""
    assert misfit(NEED, live) == why


def test_kafka(sound: Any, app_of: MakeApp) -> None:
    """Not ready, on another port, not there: each is told."""

    def state(status: str, port: int) -> None:
        listeners = [{"addresses": [{"host": "h", "port": port}]}]
        conditions = [{"type": "Ready", "status": status, "message": "no quorum"}]
        sound.store.set_status("Kafka", "kafka", "kafka", conditions=conditions, listeners=listeners)

    sound.call(lambda: state("False", 9092))
    assert "Kafka kafka/kafka is not ready: no quorum" in only_error(found(sound, app_of())).message
    sound.call(lambda: state("True", 9093))
    assert "does not listen on 9092, but on 9093" in only_error(found(sound, app_of())).message
    elsewhere = RenderOptions(kafka="b.example.com:9092", strimzi=None)
    assert not errors(found(sound, app_of(), options=elsewhere))
    own = RenderOptions(kafka="localhost:9092", strimzi=None)
    assert "is each pod itself" in only_error(found(sound, app_of(), options=own)).message


def test_without_apps_the_basics_are_looked_at(cluster: Any) -> None:
    """Before the first app is written; what only an app can need is not asked."""
    assert {each.about for each in found(cluster)} == {"kubernetes", "kinds"}
    cluster.call(lambda: cluster.store.kinds.pop(("serving.kserve.io/v1beta1", "InferenceService")))
    error = only_error(found(cluster))
    assert "InferenceService" in error.message
