"""The commands on a cluster, as a user runs them, against a real socket."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from headrace.testing.cluster.faults import Fault

from .lab import IMAGE, TOKEN, Lab  # tests/ is no package, so only a relative name finds it

if TYPE_CHECKING:
    from pathlib import Path

DEPLOY = [sys.executable, "-m", "headrace.cli.main", "deploy", *IMAGE]


def test_from_the_first_deploy_to_the_last_delete(lab: Lab) -> None:
    """As the README tells it: doctor, deploy, change, roll back, delete."""
    assert "0 errors" in lab.succeed("doctor")
    assert lab.succeed("status", "--cluster").startswith("default/echo: never deployed\n")
    assert lab.succeed("deploy", *IMAGE) == "6 created; echo is at revision 1\n"
    assert lab.succeed("deploy", *IMAGE) == "nothing to change; echo is at revision 1\n"
    lab.write(predictor={"env": {"A": "1"}})
    added = [line for line in lab.succeed("deploy", *IMAGE, "--diff").splitlines() if line.startswith("+ ")]
    assert [line.split() for line in added if "name: A" in line] == [["+", "-", "name:", "A"]]
    assert json.loads(lab.succeed("deploy", *IMAGE, "--output", "json"))["revisions"] == {"echo": 2}
    assert lab.succeed("rollback", "echo").endswith("echo is at revision 3, which is revision 1 again\n")
    assert lab.succeed("status", "--cluster").startswith("default/echo: revision 3, deployed, ")
    (told,) = json.loads(lab.succeed("status", "--cluster", "-f", "headrace.yaml", "--output", "json"))
    assert (told["app"], told["ready"], told["revision"]) == ("echo", True, 3)
    assert lab.succeed("delete") == "default/echo: 4 deleted, 2 kept\n"
    assert lab.succeed("delete") == "default/echo: 2 kept\n"


def test_the_example_in_production(lab: Lab, pictures: Path) -> None:
    """Every concern comes, goes when it is rendered no more, comes back with a rollback, and leaves nothing."""
    file = ("-f", str(pictures))
    lab.succeed("deploy", *IMAGE, *file, "--profile", "prod")
    guards = {
        "NetworkPolicy",
        "PeerAuthentication",
        "AuthorizationPolicy",
        "PodDisruptionBudget",
        "PrometheusRule",
        "Role",
    }

    def there() -> set[str]:
        found = lab.server.call(lab.server.store.references)
        return {each.kind for each in found if each.name.startswith(("picture-labels", "vision-picture"))}

    assert guards <= there()
    assert lab.succeed("deploy", *IMAGE, *file, "--profile", "prod").startswith("nothing to change")
    lab.succeed("deploy", *IMAGE, *file)
    assert not guards & there()
    assert "is revision 1 again" in lab.succeed("rollback", "picture-labels", "-n", "vision")
    assert guards <= there()
    lab.succeed("delete", *file, "--topics")
    assert not there()


def test_a_dry_run_changes_nothing(lab: Lab) -> None:
    """And says what a deploy would do, for people and for programs."""
    assert lab.succeed("deploy", *IMAGE, "--dry-run").endswith("6 created; nothing was done, this was a dry run\n")
    told = json.loads(lab.succeed("deploy", *IMAGE, "--diff", "--output", "json"))
    assert told["dryRun"]
    assert {each["what"] for each in told["resources"]} == {"created"}
    assert all(each["diff"] for each in told["resources"])
    assert not lab.server.call(lambda: [each for each in lab.server.store.references() if each.name == "echo"])


def test_a_deploy_is_refused_where_the_doctor_finds_errors(lab: Lab) -> None:
    """With each fix; it may be overruled."""
    lab.server.call(lambda: lab.server.store.set_status("Kafka", "kafka", "kafka", conditions=[]))
    told = lab.fail("deploy", *IMAGE)
    assert "lacks 1 thing" in told
    assert "fix: kubectl describe kafka kafka -n kafka" in told
    assert "--skip-doctor" in told
    assert not lab.server.call(lambda: [each for each in lab.server.faults.seen if each.startswith("PATCH")])
    assert "6 created" in lab.succeed("deploy", *IMAGE, "--skip-doctor")
    assert lab.run("doctor").returncode == 1
    findings = json.loads(lab.run("doctor", "--output", "json").stdout)
    assert [each["about"] for each in findings if each["level"] == "error"] == ["kafka"]


def test_a_conflict_is_told_with_its_remedy(lab: Lab) -> None:
    """Manager, field, flag."""
    lab.succeed("deploy", *IMAGE)
    lab.server.call(
        lambda: lab.server.store.update(
            "ScaledObject", "echo-dispatcher", "default", manager="kubectl-edit", spec={"maxReplicaCount": 99}
        )
    )
    told = lab.fail("deploy", *IMAGE)
    assert "ScaledObject default/echo-dispatcher: .spec.maxReplicaCount is kubectl-edit's" in told
    assert "--force-conflicts" in told
    assert "1 changed" in lab.succeed("deploy", *IMAGE, "--force-conflicts")


def test_a_failed_deploy_tells_why(lab: Lab) -> None:
    """And how long it may take."""
    lab.server.call(
        lambda: lab.server.controllers.fail("InferenceService", "echo", reason="RevisionFailed", message="no image")
    )
    told = lab.fail("deploy", *IMAGE, "--timeout", "3s")
    assert "not ready within 3 s" in told
    assert "InferenceService default/echo: RevisionFailed: no image" in told


def test_a_server_that_dies_half_way_is_told_and_the_next_run_ends_it(lab: Lab) -> None:
    """One line says that the same command goes on."""
    lab.server.call(lambda: lab.server.faults.script.append(Fault(0, times=10_000, method="PATCH", after=9)))
    assert "The same command goes on where this one stopped" in lab.fail("deploy", *IMAGE)
    lab.server.call(lab.server.faults.script.clear)
    assert "echo is at revision 1" in lab.succeed("deploy", *IMAGE)


def test_credentials_that_are_not_known_are_told(lab: Lab) -> None:
    """The token is not shown."""
    lab.server.kubeconfig(lab.kubeconfig, token=f"{TOKEN}-expired")
    assert "log in to the cluster again" in lab.fail("doctor")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("deploy",), "is a placeholder, which no cluster can pull"),
        (("deploy", *IMAGE, "--timeout", "soon"), "--timeout 'soon'"),
        (("deploy", *IMAGE, "--context", "other"), "no context 'other'"),
        (("deploy", *IMAGE, "-f", "none.yaml"), "none.yaml does not exist"),
        (("deploy", *IMAGE, "--kafka", "nowhere"), "--kafka 'nowhere' is no list of HOST:PORT"),
        (("rollback", "echo"), "No deploy of default/echo is recorded"),
    ],
)
def test_wrong_usage_exits_with_2(words: tuple[str, ...], told: str, lab: Lab) -> None:
    """One plain line; nothing is changed."""
    said = lab.fail(*words, code=2)
    assert told in said
    assert len(said.splitlines()) == 1


def test_no_kubeconfig_exits_with_2(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where it looked."""
    monkeypatch.setenv("KUBECONFIG", str(lab.folder / "none"))
    assert f"No kubeconfig at {lab.folder}/none" in lab.fail("deploy", *IMAGE, code=2)


def test_ctrl_c_ends_a_wait_in_one_line(lab: Lab) -> None:
    """What was applied stays, and the same command goes on."""
    lab.server.call(lambda: lab.server.controllers.ignore("InferenceService"))
    process = subprocess.Popen(DEPLOY, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if line.startswith("waiting    InferenceService"):
            process.send_signal(signal.SIGINT)
            break
    told += process.stderr.readlines()
    assert process.wait(60) == 1
    process.stderr.close()
    assert told[-1] == "headrace: Stopped half-way (the same command goes on from there)\n"


def make_ready(lab: Lab) -> None:
    """The model works."""
    ready = [{"type": "Ready", "status": "True"}]
    lab.server.store.set_status("InferenceService", "echo", "default", observedGeneration=1, conditions=ready)


def test_a_person_sees_what_is_waited_for(lab: Lab) -> None:
    """On a terminal a live table shows it, beside the words of whatever is done."""
    lab.server.call(lambda: lab.server.controllers.ignore("InferenceService"))
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        DEPLOY,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=follower,
    )
    os.close(follower)
    seen = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            read = os.read(leader, 65536)
        except OSError:
            break
        if not read:
            break
        seen += read
        if b"waiting" in seen:
            lab.server.call(lambda: make_ready(lab))
    os.close(leader)
    assert process.stdout is not None
    with process.stdout as printed:
        assert printed.read() == b"6 created; echo is at revision 1\n"
    assert process.wait(60) == 0
    text = seen.decode()
    assert "created    InferenceService default/echo" in text
    assert "ready      InferenceService default/echo" in text
