"""Deploying: asked first, in order, idempotent, pruned, written down, and gone on with after any cut."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from headrace.errors import HeadraceError, UnavailableError
from headrace.manifests.cluster.deploying import DeployOptions, deploy, rehearse
from headrace.manifests.cluster.history import KEPT_REVISIONS, History
from headrace.manifests.cluster.plan import plan_of
from headrace.manifests.cluster.refusals import RefusedError
from headrace.manifests.cluster.waiting import NotReadyError
from headrace.manifests.options import RenderOptions
from headrace.testing.cluster.faults import Fault
from headrace.testing.cluster.memory import MemoryCluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.cluster.deploying import Deployed
    from headrace.manifests.cluster.history import Revision
    from headrace.manifests.cluster.progress import Step
    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]
    Deploy = Callable[..., Deployed]

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
SOON = DeployOptions(timeout=60.0, settle=0.05)
OPTIONS = RenderOptions(image="registry.lab/headrace:1")


def revisions(cluster: Any, app: str = "echo") -> list[Revision]:
    """Of an app in the default namespace."""
    found: list[Revision] = cluster.run(lambda api: History(api, app, "default").revisions())
    return found


def kinds_of(cluster: Any) -> set[tuple[str, str]]:
    """Kind and name of all that is in the cluster, but for records and what was there before."""
    found = cluster.call(cluster.store.references)
    return {(each.kind, each.name) for each in found if each.kind != "Namespace" and "revision" not in each.name}


def whats(done: Deployed) -> dict[str, str]:
    """What became of each resource."""
    return {str(step.reference): step.what for step in done.steps}


def test_everything_is_applied_and_ready(cluster: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """In the order of the stages; each resource is told when it is made and when it works."""
    steps: list[Step] = []
    done = deploy_app(cluster, app_of(), report=steps.append)
    assert set(whats(done).values()) == {"created"}
    made = [step.reference.kind for step in steps if step.what == "created"]
    assert made == ["ConfigMap", "KafkaTopic", "KafkaTopic", "InferenceService", "Deployment", "ScaledObject"]
    ready = {step.reference.kind for step in steps if step.what == "ready"}
    assert ready == {"KafkaTopic", "InferenceService", "Deployment", "ScaledObject"}
    assert done.revisions == {"echo": 1}
    assert [each.state for each in revisions(cluster)] == ["deployed"]


def test_a_second_deploy_changes_nothing(cluster: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """Not a single write, and it says so."""
    assert deploy_app(cluster, app_of()).changed
    before = cluster.call(lambda: cluster.store.clock)
    done = deploy_app(cluster, app_of())
    assert not done.changed
    assert set(whats(done).values()) == {"unchanged"}
    assert done.revisions == {"echo": 1}
    assert cluster.call(lambda: cluster.store.clock) == before


def test_a_second_deploy_only_asks(http: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """One dry run a resource and no apply, so that nobody's watch or audit sees a write."""
    deploy_app(http, app_of())
    http.call(http.server.faults.seen.clear)
    deploy_app(http, app_of())
    patches = [each for each in http.server.faults.seen if each.startswith("PATCH")]
    assert len(patches) == len(set(patches)) == 6


def test_a_change_is_a_revision_and_touches_only_what_it_changes(
    memory: Any, app_of: MakeApp, deploy_app: Deploy
) -> None:
    """The manifests of both are kept."""
    deploy_app(memory, app_of(), now=lambda: NOON)
    done = deploy_app(memory, app_of(spec={"predictor": {"env": {"A": "1"}}}))
    changed = {name for name, what in whats(done).items() if what == "changed"}
    assert "InferenceService default/echo" in changed
    assert not [name for name in changed if name.startswith("KafkaTopic")]
    first, second = revisions(memory)
    assert first.time == "2024-05-01T12:00:00Z"
    assert '"name": "A"' not in json.dumps(first.resources)
    assert '"name": "A"' in json.dumps(second.resources)


def test_what_is_no_longer_rendered_is_pruned(cluster: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """But for topics, which hold events."""
    more = {"access": {}, "network": {}, "results": {"topic": "answers"}}
    deploy_app(cluster, app_of(spec=more))
    there = kinds_of(cluster)
    done = deploy_app(cluster, app_of())
    gone = there - kinds_of(cluster)
    assert {"ServiceAccount", "NetworkPolicy"} <= {kind for kind, _ in gone}
    told = whats(done)
    assert told["KafkaTopic kafka/answers"] == "kept"
    assert ("KafkaTopic", "answers") in kinds_of(cluster)
    assert sorted(name for name, what in told.items() if what == "pruned") == sorted(
        str(step.reference) for step in done.steps if (step.reference.kind, step.reference.name) in gone
    )
    assert not deploy_app(cluster, app_of()).changed


def test_nothing_of_others_is_pruned(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """Neither what another app took over, nor what somebody made his own, nor what Headrace never applied."""
    deploy_app(memory, app_of(spec={"access": {}}))
    labels = {"app.kubernetes.io/name": "other"}
    memory.store.update("ServiceAccount", "echo-predictor", "default", manager="x", metadata={"labels": labels})
    labels = {"app.kubernetes.io/managed-by": "Helm"}
    memory.store.update("ServiceAccount", "echo-dispatcher", "default", manager="x", metadata={"labels": labels})
    memory.store.put(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "by-hand",
                "namespace": "default",
                "labels": {"app.kubernetes.io/name": "echo", "app.kubernetes.io/managed-by": "headrace"},
            },
        }
    )
    told = whats(deploy_app(memory, app_of()))
    assert told["ServiceAccount default/echo-predictor"] == "left"
    assert told["ServiceAccount default/echo-dispatcher"] == "left"
    assert memory.store.get("ServiceAccount", "echo-predictor", "default")
    assert memory.store.get("ConfigMap", "by-hand", "default")


def test_a_topic_that_is_rendered_no_more_is_not_forgotten(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """Each deploy tells of it until it is deleted on purpose, or another's."""
    deploy_app(memory, app_of(spec={"results": {"topic": "answers"}}))
    for _ in range(2):
        assert whats(deploy_app(memory, app_of()))["KafkaTopic kafka/answers"] == "kept"
    labels = {"app.kubernetes.io/name": "other"}
    memory.store.update("KafkaTopic", "answers", "kafka", manager="x", metadata={"labels": labels})
    assert whats(deploy_app(memory, app_of()))["KafkaTopic kafka/answers"] == "left"
    assert "KafkaTopic kafka/answers" not in whats(deploy_app(memory, app_of()))


def test_without_pruning_all_stays_until_a_deploy_with_it(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """What is left is not forgotten."""
    deploy_app(memory, app_of(spec={"access": {}}))
    deploy_app(memory, app_of(), options=DeployOptions(timeout=60, prune=False))
    assert memory.store.get("ServiceAccount", "echo-predictor", "default")
    told = whats(deploy_app(memory, app_of()))
    assert told["ServiceAccount default/echo-predictor"] == "pruned"


def test_two_apps_of_a_file_prune_on_their_own(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """A topic that goes from one to the other stays."""
    one = app_of(spec={"results": {"topic": "between"}})
    two = app_of(metadata={"name": "next"}, spec={"trigger": {"topic": "between"}})
    deploy_app(memory, one)
    done = deploy_app(memory, one, two)
    assert done.revisions == {"echo": 2, "next": 1}
    assert "kept" not in whats(done).values()
    owner = memory.store.get("KafkaTopic", "between", "kafka")["metadata"]["labels"]["app.kubernetes.io/name"]
    assert owner == "next"


def test_a_refusal_is_told_before_anything_is_changed(cluster: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """All of them at once, each with its resource."""
    cluster.call(
        lambda: cluster.store.checks.append(
            lambda each: "spec: too odd" if each["kind"] in ("Deployment", "ScaledObject") else None
        )
    )
    before = cluster.call(lambda: cluster.store.clock)
    with pytest.raises(RefusedError, match=r"refuses 2 of 6 resources") as refused:
        deploy_app(cluster, app_of())
    assert "Deployment default/echo-dispatcher" in str(refused.value)
    assert "ScaledObject default/echo-dispatcher" in str(refused.value)
    assert cluster.call(lambda: cluster.store.clock) == before


def test_a_conflict_names_manager_and_field_and_can_be_taken(cluster: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """Somebody edited what the app says; nothing is changed until that is settled."""
    deploy_app(cluster, app_of())
    cluster.call(
        lambda: cluster.store.update(
            "ScaledObject", "echo-dispatcher", "default", manager="kubectl-edit", spec={"maxReplicaCount": 99}
        )
    )
    with pytest.raises(RefusedError, match=r"\.spec\.maxReplicaCount is kubectl-edit's.*--force-conflicts"):
        deploy_app(cluster, app_of())
    assert cluster.call(lambda: cluster.store.get("ScaledObject", "echo-dispatcher", "default"))["spec"][
        "maxReplicaCount"
    ] == 99  # fmt: skip
    deploy_app(cluster, app_of(), options=DeployOptions(timeout=60, force=True))
    assert cluster.call(lambda: cluster.store.get("ScaledObject", "echo-dispatcher", "default"))["spec"][
        "maxReplicaCount"
    ] == 8  # fmt: skip


def test_what_others_add_is_left_alone(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """An autoscaler's replicas, a webhook's annotation: no conflict, and no change."""
    deploy_app(memory, app_of())
    memory.store.update("Deployment", "echo-dispatcher", "default", manager="keda", spec={"replicas": 0})
    done = deploy_app(memory, app_of())
    assert not done.changed
    assert memory.store.get("Deployment", "echo-dispatcher", "default")["spec"]["replicas"] == 0


def test_fewer_partitions_are_refused(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """Kafka cannot, and Strimzi would only say so after the topic was changed."""
    deploy_app(memory, app_of())
    with pytest.raises(RefusedError, match=r"KafkaTopic kafka/words has 8 partitions, and 4 are asked for"):
        deploy_app(memory, app_of(spec={"trigger": {"partitions": 4}}))


def test_a_service_of_another_mode_is_refused(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """KServe goes by the mode in the status, for ever: the model would never go to zero."""
    about = {"name": "echo", "namespace": "default"}
    memory.controllers.ignore("InferenceService")
    memory.store.put({"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": about})
    memory.store.set_status("InferenceService", "echo", "default", deploymentMode="Standard")
    with pytest.raises(RefusedError, match=r"default/echo was made in the mode Standard.*kubectl delete"):
        deploy_app(memory, app_of())
    memory.store.set_status("InferenceService", "echo", "default", deploymentMode="Serverless", conditions=[READY])
    assert deploy_app(memory, app_of()).changed


def test_a_failed_app_is_told_with_its_pods_and_events(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """The revision stays marked as one that never worked, until it does."""
    memory.controllers.fail("InferenceService", "echo", reason="RevisionFailed", message="no pod")
    labels = {"serving.kserve.io/inferenceservice": "echo"}
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    memory.store.put(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "echo-predictor-1", "namespace": "default", "labels": labels},
            "status": {"containerStatuses": [{"name": "kserve-container", "state": {"waiting": waiting}}]},
        }
    )
    memory.store.put(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "e", "namespace": "default"},
            "type": "Warning",
            "reason": "FailedScheduling",
            "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu",
            "involvedObject": {"kind": "Pod", "name": "echo-predictor-1"},
        }
    )
    with pytest.raises(NotReadyError, match="1 resource failed") as failed:
        deploy_app(memory, app_of())
    told = str(failed.value)
    assert "InferenceService default/echo: RevisionFailed: no pod" in told
    assert "pod echo-predictor-1, container kserve-container: ImagePullBackOff: no such image" in told
    assert "Insufficient nvidia.com/gpu" in told
    assert "headrace rollback" in told
    assert [each.state for each in revisions(memory)] == ["applying"]
    memory.controllers.heal("InferenceService", "echo")
    memory.store.set_status("InferenceService", "echo", "default", observedGeneration=1, conditions=[READY])
    assert not deploy_app(memory, app_of()).changed
    assert [each.state for each in revisions(memory)] == ["deployed"]


def test_an_app_that_works_is_marked_so_whatever_its_neighbours_do(
    memory: Any, app_of: MakeApp, deploy_app: Deploy
) -> None:
    """Of two apps in one deploy one fails: the other's revision is one to go back to."""
    memory.controllers.fail("InferenceService", "next", reason="Bad", message="")
    two = app_of(metadata={"name": "next"}, spec={"trigger": {"topic": "more"}})
    with pytest.raises(NotReadyError, match="InferenceService default/next"):
        deploy_app(memory, app_of(), two, options=DeployOptions(timeout=60.0, settle=1.0))
    assert [each.state for each in revisions(memory)] == ["deployed"]
    assert [each.state for each in revisions(memory, "next")] == ["applying"]


READY = {"type": "Ready", "status": "True"}


@pytest.mark.parametrize("after", range(8, 26, 2))
def test_a_deploy_that_was_cut_off_is_ended_by_the_next(
    after: int, http: Any, app_of: MakeApp, deploy_app: Deploy
) -> None:
    """The server dies at any point; what the first had made and the next does not want is pruned all the same."""
    faults = http.server.faults
    http.call(lambda: faults.script.append(Fault(0, times=100_000, method="PATCH", after=after)))
    more = app_of(spec={"access": {}})
    with pytest.raises(UnavailableError, match="goes on where this one stopped"):
        deploy_app(http, more)
    http.call(faults.script.clear)
    deploy_app(http, app_of())
    assert {each for each in kinds_of(http) if each[0] != "KafkaTopic"} == {
        ("ConfigMap", "echo-app"),
        ("ConfigMap", "echo-deployed"),
        ("Deployment", "echo-dispatcher"),
        ("InferenceService", "echo"),
        ("ScaledObject", "echo-dispatcher"),
    }
    assert revisions(http)[-1].state == "deployed"
    assert not deploy_app(http, app_of()).changed


def test_revisions_are_bounded(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """The newest stay, and their numbers go on."""
    for number in range(KEPT_REVISIONS + 3):
        deploy_app(memory, app_of(spec={"predictor": {"env": {"A": str(number)}}}))
    numbers = [each.number for each in revisions(memory)]
    assert numbers == list(range(4, KEPT_REVISIONS + 4))


def test_the_last_good_revision_outlives_ten_that_failed(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """It is the one that a rollback wants."""
    deploy_app(memory, app_of())
    memory.controllers.fail("InferenceService", "echo", reason="Bad", message="")
    for number in range(KEPT_REVISIONS + 2):
        with pytest.raises(NotReadyError):
            deploy_app(memory, app_of(spec={"predictor": {"env": {"A": str(number)}}}))
    memory.controllers.heal("InferenceService", "echo")
    found = revisions(memory)
    assert [each.number for each in found if each.state == "deployed"] == [1]
    assert len(found) <= KEPT_REVISIONS + 1


class Overtaken(MemoryCluster):
    """A cluster in which somebody else writes revision 2 a moment before we do."""

    async def apply(self, resource: dict[str, Any], *, force: bool = False, dry_run: bool = False) -> dict[str, Any]:
        """As asked, after the other."""
        if resource["metadata"]["name"] == "echo-revision-2" and not self.store.get(
            "ConfigMap", "echo-revision-2", "default"
        ):
            self.store.put({**resource, "binaryData": {"manifests.yaml.gz": "dGhlaXJz"}})
        return await super().apply(resource, force=force, dry_run=dry_run)


def test_two_deploys_at_once_do_not_mix(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """A revision's number is taken once; the later deploy applies nothing and is told to come again."""
    deploy_app(memory, app_of())
    before = memory.store.get("InferenceService", "echo", "default")
    mine = plan_of([app_of(spec={"predictor": {"env": {"A": "mine"}}})], OPTIONS)
    with pytest.raises(RefusedError, match="Another deploy of default/echo is under way"):
        asyncio.run(deploy(Overtaken(memory.store), mine, SOON))
    assert memory.store.get("InferenceService", "echo", "default") == before


def test_a_namespace_that_the_app_brings_need_not_be_there(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """It is made first, and stays when it is rendered no more."""
    isolated = app_of(metadata={"namespace": "lab"}, spec={"isolation": {}, "quota": {}})
    previews, _ = memory.run(lambda api: rehearse(api, plan_of([isolated], OPTIONS), SOON))
    assert {each.what for each in previews} == {"created"}
    assert deploy_app(memory, isolated).changed
    assert memory.store.get("Namespace", "lab")
    assert not deploy_app(memory, isolated).changed


def test_a_namespace_that_is_nowhere_is_told(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """Nothing is applied elsewhere instead."""
    with pytest.raises(RefusedError, match='namespaces "lab" not found'):
        deploy_app(memory, app_of(metadata={"namespace": "lab"}))


def test_a_rehearsal_tells_all_and_changes_nothing(cluster: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """What would be made, changed line by line, left, and pruned."""
    deploy_app(cluster, app_of(spec={"access": {}}))
    before = cluster.call(lambda: cluster.store.clock)
    plan = plan_of([app_of(spec={"trigger": {"partitions": 9}})], OPTIONS)
    previews, gone = cluster.run(lambda api: rehearse(api, plan, SOON))
    changed = {str(each.reference): each.diff() for each in previews if each.what == "changed"}
    diff = changed["KafkaTopic kafka/words"].splitlines()
    assert [line for line in diff if line[0] in "+-"][2:] == ["-  partitions: 8", "+  partitions: 9"]
    assert all(each.diff() == "" for each in previews if each.what == "unchanged")
    pruned = {str(step.reference) for step in gone if step.what == "pruned"}
    assert {"ServiceAccount default/echo-predictor", "Role default/echo-viewer"} <= pruned
    assert not [name for name in pruned if name.split()[0] not in ("Role", "ServiceAccount")]
    assert cluster.call(lambda: cluster.store.clock) == before


def test_not_waiting_is_possible(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """The revision is then not known to work."""
    memory.controllers.ignore("InferenceService")
    assert deploy_app(memory, app_of(), options=DeployOptions(timeout=0)).changed
    assert [each.state for each in revisions(memory)] == ["applying"]


def test_a_damaged_record_is_told(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """With what to do; it is not taken for an empty one, since then nothing would be pruned any more."""
    deploy_app(memory, app_of())
    memory.store.update("ConfigMap", "echo-deployed", "default", manager="me", data={"resources": "{"})
    with pytest.raises(HeadraceError, match="echo-deployed is damaged"):
        deploy_app(memory, app_of())


def test_the_records_hold_no_secret(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """Manifests name Secrets and never hold their values."""
    deploy_app(memory, app_of(spec={"kafka": {"secret": "kafka-login", "authentication": "scram-sha-512"}}))
    text = json.dumps(revisions(memory)[0].resources)
    assert "kafka-login" in text
    assert '"kind": "Secret"' not in text
