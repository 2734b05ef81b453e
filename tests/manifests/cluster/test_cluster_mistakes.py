"""What the commands say when the cluster, the way to it or the rights are not as they should be."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING

import pytest

from headrace.manifests.cluster import http
from headrace.manifests.cluster.transport import Patience
from headrace.testing.cluster.faults import Fault

from .lab import IMAGE, TOKEN, Lab  # tests/ is no package, so only a relative name finds it

if TYPE_CHECKING:
    from headrace.testing.cluster.store import ClusterStore

COMMANDS = {
    "deploy": ("deploy", *IMAGE),
    "diff": ("deploy", *IMAGE, "--diff"),
    "dry run": ("deploy", *IMAGE, "--dry-run"),
    "status": ("status", "--cluster"),
    "rollback": ("rollback", "echo"),
    "delete": ("delete",),
    "doctor": ("doctor",),
}
every_command = pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not answer is soon given up."""
    monkeypatch.setattr(http, "Patience", partial(Patience, broken=0.2, first_wait=0.02))


def store(lab: Lab) -> ClusterStore:
    """What is in the cluster."""
    return lab.server.store


def uninstall(lab: Lab, kind: str) -> None:
    """The kind is not served any more, and its group is not if it was the last."""
    known = store(lab).kinds
    for key in [key for key in known if key[1] == kind]:
        del known[key]


@every_command
def test_without_a_kubeconfig(words: tuple[str, ...], lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where it looked, and how to name one."""
    monkeypatch.setenv("KUBECONFIG", str(lab.folder / "none"))
    assert lab.fail(*words, code=2) == (
        f"headrace: No kubeconfig at {lab.folder}/none, so no cluster is known "
        "(name one with KUBECONFIG=FILE, or log in to a cluster)\n"
    )


@every_command
def test_a_kubeconfig_that_is_none(words: tuple[str, ...], lab: Lab) -> None:
    """Nothing of its content is shown: it may be secret."""
    lab.kubeconfig.write_text(f"users: [{{user: {{token: {TOKEN}\n")
    told = lab.fail(*words, code=2)
    assert "it is no kubeconfig: ParserError on line 2" in told
    assert len(told.splitlines()) == 1


@every_command
def test_an_unknown_context(words: tuple[str, ...], lab: Lab) -> None:
    """With those that there are."""
    told = lab.fail(*words, "--context", "other", code=2)
    assert "has no context 'other' (it has test)" in told
    assert len(told.splitlines()) == 1


@every_command
def test_a_server_that_is_not_there(words: tuple[str, ...], lab: Lab) -> None:
    """One line names the context and the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    lab.kubeconfig.write_text(lab.kubeconfig.read_text().replace(lab.server.url, f"http://127.0.0.1:{port}"))
    told = lab.fail(*words)
    assert told.startswith(f"headrace: test at http://127.0.0.1:{port} does not answer: ")
    assert len(told.splitlines()) == 1


@every_command
def test_credentials_that_are_unknown(words: tuple[str, ...], lab: Lab) -> None:
    """The token is not shown; it says what to do."""
    lab.server.kubeconfig(lab.kubeconfig, token=f"{TOKEN}-of-yesterday")
    assert "log in to the cluster again" in lab.fail(*words)


@every_command
def test_no_rights_at_all(words: tuple[str, ...], lab: Lab) -> None:
    """Each says what may not be done, and whom to ask; nothing is changed."""
    lab.server.call(lambda: store(lab).forbidden.append(lambda access: True))
    before = lab.server.call(lambda: store(lab).clock)
    done = lab.run(*words)
    assert done.returncode == 1
    told = done.stdout + done.stderr
    assert "administrator" in told
    assert "forbidden" in told or "you may not" in told
    assert "Traceback" not in told
    assert lab.server.call(lambda: store(lab).clock) == before


def test_kserve_is_not_installed(lab: Lab) -> None:
    """The doctor names it, a deploy refuses; one that skips the doctor is refused by the cluster."""
    for kind in ("InferenceService", "LocalModelCache", "LocalModelNodeGroup"):
        lab.server.call(partial(uninstall, lab, kind))
    assert "install KServe 0.21" in lab.run("doctor").stdout
    assert "fix: install KServe 0.21" in lab.fail("deploy", *IMAGE)
    assert "has no kind InferenceService in serving.kserve.io/v1beta1" in lab.fail("deploy", *IMAGE, "--skip-doctor")
    assert "unknown" in lab.succeed("status", "--cluster")
    assert "nothing was there" in lab.succeed("delete")


def test_what_was_uninstalled_under_an_app_is_no_hindrance_to_its_end(lab: Lab) -> None:
    """Its resources went with the kind; the others are deleted."""
    lab.succeed("deploy", *IMAGE)
    lab.server.call(lambda: uninstall(lab, "InferenceService"))
    assert "has no kind InferenceService" in lab.fail("rollback", "echo", "--to", "1")
    assert lab.succeed("delete") == "default/echo: 3 deleted, 2 kept\n"


def test_a_cluster_that_is_too_old(lab: Lab) -> None:
    """An error of the doctor's with the versions that will do."""
    lab.server.call(lambda: setattr(store(lab), "version", "1.30"))
    assert "version 1.30 is older than KServe 0.21 and Knative 1.23 need" in lab.run("doctor").stdout
    told = lab.fail("deploy", *IMAGE)
    assert "fix: use a cluster of Kubernetes 1.32 to 1.36" in told
    assert "nothing was changed" in told


@pytest.mark.parametrize("status", [403, 409, 422, 500])
def test_an_apply_that_fails_half_way(status: int, lab: Lab) -> None:
    """What was asked before may be refused all the same; status tells of the half, and the same command ends it."""
    # The first request for it is the dry run.
    fault = Fault(status, times=1000, method="PATCH", path="/scaledobjects/", after=1)
    lab.server.call(lambda: lab.server.faults.script.append(fault))
    assert "ScaledObject default/echo-dispatcher: scripted fault" in lab.fail("deploy", *IMAGE)
    told = lab.succeed("status", "--cluster")
    assert told.startswith("default/echo: revision 1, applying, ")
    assert "it is not there" in told
    lab.server.call(lab.server.faults.script.clear)
    assert lab.succeed("deploy", *IMAGE).endswith("echo is at revision 1\n")
    assert lab.succeed("status", "--cluster").startswith("default/echo: revision 1, deployed, ")


def test_a_wait_that_ends(lab: Lab) -> None:
    """What is missing is told with its controller's words, by the deploy and by status."""
    lab.server.call(lambda: lab.server.controllers.ignore("KafkaTopic"))
    told = lab.fail("deploy", *IMAGE, "--timeout", "2s")
    assert "not ready within 2 s (--timeout sets how long to wait)" in told
    assert "KafkaTopic kafka/words: its controller has not looked at it yet" in told
    assert "its controller has not looked at it yet" in lab.succeed("status", "--cluster")
    assert lab.succeed("deploy", *IMAGE, "--timeout", "0s").startswith("nothing to change")


def test_what_is_rendered_no_more_goes_and_what_is_anothers_stays(lab: Lab) -> None:
    """Said before by a dry run; not with --no-prune."""
    lab.write(access={})
    lab.succeed("deploy", *IMAGE)
    theirs = {"app.kubernetes.io/managed-by": "Helm"}
    lab.server.call(
        lambda: store(lab).update(
            "ServiceAccount", "echo-predictor", "default", manager="helm", metadata={"labels": theirs}
        )
    )
    lab.write()
    assert "pruned     ServiceAccount default/echo-dispatcher\n" in lab.succeed("deploy", *IMAGE, "--dry-run")
    assert "pruned" not in lab.succeed("deploy", *IMAGE, "--no-prune")
    done = lab.run("deploy", *IMAGE)
    assert done.returncode == 0
    assert "pruned     ServiceAccount default/echo-dispatcher\n" in done.stderr
    assert "left       ServiceAccount default/echo-predictor: it is somebody else's now\n" in done.stderr
    there = lab.server.call(lambda: {each.name for each in store(lab).references() if each.kind == "ServiceAccount"})
    assert there == {"echo-predictor"}


def test_a_prune_that_is_refused(lab: Lab) -> None:
    """It is told, and not forgotten: the next deploy prunes."""
    lab.write(access={})
    lab.succeed("deploy", *IMAGE)
    lab.server.call(lambda: store(lab).forbidden.append(lambda access: access.verb == "delete"))
    lab.write()
    assert 'cannot delete resource "serviceaccounts"' in lab.fail("deploy", *IMAGE, "--skip-doctor")
    lab.server.call(store(lab).forbidden.clear)
    assert "5 pruned" in lab.succeed("deploy", *IMAGE)


def test_a_rollback_meets_somebody_elses_change(lab: Lab) -> None:
    """Manager, field and flag, as with a deploy; a revision that is not there is named with those that are."""
    lab.succeed("deploy", *IMAGE)
    lab.write(predictor={"env": {"A": "1"}})
    lab.succeed("deploy", *IMAGE)
    lab.server.call(
        lambda: store(lab).update(
            "ScaledObject", "echo-dispatcher", "default", manager="kubectl-edit", spec={"maxReplicaCount": 99}
        )
    )
    told = lab.fail("rollback", "echo")
    assert ".spec.maxReplicaCount is kubectl-edit's" in told
    assert "--force-conflicts" in told
    assert "is revision 1 again" in lab.succeed("rollback", "echo", "--force-conflicts")
    assert "echo has no revision 9 (it has 1 (deployed, " in lab.fail("rollback", "echo", "--to", "9", code=2)


def test_a_delete_that_is_held(lab: Lab) -> None:
    """The finalizer is named, and the same command goes on."""
    lab.succeed("deploy", *IMAGE)

    def hold() -> None:
        live = store(lab).get("ScaledObject", "echo-dispatcher", "default") or {}
        live["metadata"]["finalizers"] = ["finalizer.keda.sh"]
        store(lab).put(live)

    lab.server.call(hold)
    assert "held by finalizer.keda.sh" in lab.fail("delete", "--timeout", "1s")
    lab.server.call(lambda: store(lab).release("ScaledObject", "echo-dispatcher", "default"))
    assert lab.succeed("delete") == "default/echo: 3 deleted, 2 kept\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("status", "-f", "headrace.yaml"), "--file says nothing about `headrace up` (add --cluster"),
        (("status", "--context", "test"), "--context says nothing about `headrace up`"),
        (("status", "--cluster", "-f", "none.yaml"), "none.yaml does not exist"),
        (("delete", "-f", "none.yaml"), "none.yaml does not exist"),
        (("delete", "--timeout", "-1s"), "--timeout '-1s'"),
        (("doctor", "-f", "none.yaml"), "none.yaml does not exist"),
        (("rollback", "echo", "--to", "0"), "No deploy of default/echo is recorded"),
    ],
)
def test_wrong_words(words: tuple[str, ...], told: str, lab: Lab) -> None:
    """One line, and exit code 2."""
    said = lab.fail(*words, code=2)
    assert told in said
    assert len(said.splitlines()) == 1
