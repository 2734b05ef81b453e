"""Pauses, as a user makes them."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.eventing.delivery.conftest import event

from headrace.testing.app import running_app, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

APP = """
apiVersion: headrace.dev/v1alpha1
kind: InferenceApp
metadata: {name: labels}
spec:
  predictor: {class: "no.such.module:Model"}
  trigger: {topic: pictures}
"""


def is_paused(delivery: Any) -> bool:
    """Whether the dispatcher says so."""
    return bool(delivery.metric("headrace_dispatcher_paused") == 1)


def owns_its_partitions(delivery: Any) -> bool:
    """Whether the dispatcher has been given its topic."""
    return "assigned in/0" in delivery.log.read_text()


def test_a_pause_outlives_the_dispatcher(delivering: Callable[..., Any]) -> None:
    """While the file is there nothing arrives, also after a restart; as soon as it is gone, everything does."""
    arrived: list[float] = []

    def answer(*_: Any) -> tuple[int, dict[str, str], bytes]:
        arrived.append(time.monotonic())
        return 204, {}, b""

    for life in range(2):
        with delivering() as delivery:
            delivery.receiver.answer = answer
            delivery.pause.touch()
            until(partial(is_paused, delivery), "it is paused", 60)
            delivery.publish(*(event(10 * life + number) for number in range(5)))
            if not life:
                continue
            until(partial(owns_its_partitions, delivery), "it owns its partitions", 60)
            resumed = time.monotonic()
            delivery.pause.unlink()
            delivery.until_done(10)
            assert len(arrived) == 10
            assert min(arrived) >= resumed


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_pause_and_resume_an_app_that_is_up(tmp_path: Path) -> None:
    """`headrace pause` holds an app's events back and `status` says so; `headrace resume` lets them go on."""
    (tmp_path / "headrace.yaml").write_text(APP)
    (tmp_path / "a.txt").write_text("a")
    with running_app(tmp_path / "headrace.yaml", tmp_path) as app:
        wrong = app.command("pause", "lables")
        assert (wrong.returncode, "up are labels" in wrong.stderr) == (2, True)
        assert "was not paused" in app.succeed("resume", "labels")
        assert "headrace resume labels" in app.succeed("pause", "labels")
        assert "paused" in app.succeed("status")
        log = tmp_path / "logs" / "default.labels-dispatcher.log"
        until(lambda: log.exists() and "paused" in log.read_text(), "the dispatcher knows")
        app.publish("pictures", tmp_path / "a.txt")
        assert app.status()["services"][0]["desired"] == 0
        assert "goes on" in app.succeed("resume", "labels")
        until(lambda: app.status()["services"][0]["desired"] == 1, "the event wakes the app")
