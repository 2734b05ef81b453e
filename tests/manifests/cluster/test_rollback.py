"""Going back to an earlier deploy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headrace.errors import ConfigurationError, HeadraceError
from headrace.manifests.cluster.deploying import DeployOptions
from headrace.manifests.cluster.history import History
from headrace.manifests.cluster.rollback import rollback
from headrace.manifests.cluster.waiting import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.cluster.deploying import Deployed
    from headrace.manifests.cluster.rollback import RolledBack
    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]
    Deploy = Callable[..., Deployed]

SOON = DeployOptions(timeout=60.0, settle=0.05)


def back(cluster: Any, *, to: int | None = None, app: str = "echo") -> RolledBack:
    """Roll the app back."""
    found: RolledBack = cluster.run(lambda api: rollback(api, app, "default", to=to, options=SOON))
    return found


def variable(cluster: Any) -> str:
    """What the predictor of the cluster's app has in A."""
    live = cluster.call(lambda: cluster.store.get("InferenceService", "echo", "default"))
    env = live["spec"]["predictor"]["containers"][0]["env"]
    return next((each["value"] for each in env if each["name"] == "A"), "")


def with_a(app_of: MakeApp, value: str, **spec: Any) -> InferenceApp:
    """The app with a variable."""
    return app_of(spec={"predictor": {"env": {"A": value}}, **spec})


def test_the_last_good_revision_is_applied_again(cluster: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """It becomes the newest; what only the later one had is pruned."""
    deploy_app(cluster, with_a(app_of, "1"))
    deploy_app(cluster, with_a(app_of, "2", access={}))
    done = back(cluster)
    assert done.to == 1
    assert done.deployed.revisions == {"echo": 3}
    assert variable(cluster) == "1"
    assert cluster.call(lambda: cluster.store.get("ServiceAccount", "echo-predictor", "default")) is None
    last = cluster.run(lambda api: History(api, "echo", "default").revisions())[-1]
    assert (last.note, last.state) == ("rollback to 1", "deployed")


def test_a_failed_deploy_goes_back_to_what_worked(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """Revisions that never worked are passed over."""
    deploy_app(memory, with_a(app_of, "good"))
    memory.controllers.fail("InferenceService", "echo", reason="Bad", message="")
    for value in ("bad", "worse"):
        with pytest.raises(NotReadyError):
            deploy_app(memory, with_a(app_of, value))
    memory.controllers.heal("InferenceService", "echo")
    assert back(memory).to == 1
    assert variable(memory) == "good"


def test_a_revision_can_be_named(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """Whether it worked or not."""
    for value in ("1", "2", "3"):
        deploy_app(memory, with_a(app_of, value))
    back(memory, to=2)
    assert variable(memory) == "2"


def test_what_there_is_not_cannot_be_gone_back_to(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """The message names what there is."""
    with pytest.raises(ConfigurationError, match="No deploy of default/echo is recorded"):
        back(memory)
    deploy_app(memory, app_of())
    with pytest.raises(ConfigurationError, match=r"no earlier deploy that worked.*1 \(deployed"):
        back(memory)
    with pytest.raises(ConfigurationError, match=r"no revision 7.*it has 1 \(deployed"):
        back(memory, to=7)


def test_a_topic_keeps_its_partitions(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """They cannot be taken away, so the rollback goes on without, and says so."""
    deploy_app(memory, app_of())
    deploy_app(memory, app_of(spec={"trigger": {"partitions": 16}}))
    assert any("keeps its 16 partitions" in note for note in back(memory).notes)
    assert memory.store.get("KafkaTopic", "words", "kafka")["spec"]["partitions"] == 16
    assert memory.store.get("ScaledObject", "echo-dispatcher", "default")["spec"]["maxReplicaCount"] == 8


def test_a_share_of_requests_is_told(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """A rollback to a canary is one: the others go on as they were."""
    deploy_app(memory, with_a(app_of, "1", rollout={"canary": 10}))
    deploy_app(memory, with_a(app_of, "2"))
    predictor = {"latestRolledoutRevision": "echo-predictor-00002"}
    generation = memory.store.get("InferenceService", "echo", "default")["metadata"]["generation"]
    memory.store.set_status(
        "InferenceService",
        "echo",
        "default",
        observedGeneration=generation,
        components={"predictor": predictor},
        conditions=[{"type": "Ready", "status": "True"}],
    )
    (note,) = back(memory).notes
    assert "10 %" in note
    assert "echo-predictor-00002 answers the others" in note


def test_a_damaged_revision_is_told(memory: Any, app_of: MakeApp, deploy_app: Deploy) -> None:
    """Nothing of it is applied."""
    deploy_app(memory, with_a(app_of, "1"))
    deploy_app(memory, with_a(app_of, "2"))
    memory.store.update("ConfigMap", "echo-revision-1", "default", manager="me", binaryData={"manifests.yaml.gz": "AA"})
    with pytest.raises(HeadraceError, match="Revision 1 is damaged"):
        back(memory)
    assert variable(memory) == "2"
