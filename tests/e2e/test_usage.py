"""Usage as a user sees it: tenants' events in, a bill out, whose seconds are those of the processes that ran."""

from __future__ import annotations

import json
import time
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from headrace.eventing.usage import LIFE_TYPE
from headrace.testing.app import AppRunner, running_app, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

APP = """
apiVersion: headrace.dev/v1alpha1
kind: InferenceApp
metadata: {name: words, namespace: lab}
spec:
  predictor: {class: "models.py:Words", scale: {min: 0, max: 1, idle: 2s}, resources: {cpu: 1}}
  trigger: {topic: words}
  results: {topic: counts}
  usage: {topic: bills, tenant: {attribute: team}}
"""
MODEL = """
import time
import kserve

class Words(kserve.Model):
    def load(self):
        self.ready = True

    def predict(self, payload, headers=None):
        time.sleep(0.05)
        return {"words": len(str(payload).split())}
"""
TEAMS = ("red", "red", "blue", "red")


def _events(folder: Path) -> Path:
    path = folder / "events.jsonl"
    events = [
        {"specversion": "1.0", "id": str(at), "source": "/t", "type": "t", "team": team, "data": {"text": "a b"}}
        for at, team in enumerate(TEAMS)
    ]
    path.write_text("\n".join(map(json.dumps, events)))
    return path


def _replica(app: AppRunner) -> psutil.Process | None:
    with urllib.request.urlopen(app.state()["ingress"], timeout=30) as answer:
        status = json.load(answer)
    replicas = [replica for service in status["services"] for replica in service["replicas"] if replica["pid"]]
    return psutil.Process(replicas[0]["pid"]) if replicas else None


def _bill(app: AppRunner, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(app.succeed("usage", "--topic", "bills", "--output", "json", *words))
    return found


def test_the_bill_of_a_run_is_the_life_of_its_replica(tmp_path: Path) -> None:
    """Rows add up to the replica's seconds within a thousandth, and those are the seconds its process was there."""
    (tmp_path / "headrace.yaml").write_text(APP)
    (tmp_path / "models.py").write_text(MODEL)
    (tmp_path / "prices.yaml").write_text("{currency: EUR, cpuHour: 3.6}")
    (tmp_path / "home").mkdir()
    with running_app(tmp_path / "headrace.yaml", tmp_path / "home") as app:
        app.succeed("publish", "--topic", "words", "--events", str(_events(tmp_path)))
        process = until(lambda: _replica(app), "the replica starts")
        assert process is not None
        app.answers("counts", *map(str, range(len(TEAMS))))
        began = process.create_time()
        with suppress(psutil.NoSuchProcess):
            process.wait(60)
        ended = time.time()
        until(lambda: any(event.type == LIFE_TYPE for event in app.read("bills")), "the replica's end is told")
        bill = _bill(app, "--price-file", str(tmp_path / "prices.yaml"))
        table = app.succeed("usage", "--topic", "bills", "--by", "app")
    rows = {row["key"]: row for row in bill["rows"]}
    assert {team: rows[team]["events"] for team in set(TEAMS)} == {"red": 3, "blue": 1}
    assert rows["red"]["compute_seconds"] >= 0.15
    assert sum(row["seconds"] for row in bill["rows"]) == pytest.approx(bill["replica_seconds"], rel=0.001)
    assert bill["replica_seconds"] == pytest.approx(ended - began, abs=1.0), "a busy machine tells of an end late"
    assert bill["total"]["cost"] == pytest.approx(bill["replica_seconds"] / 1000)
    assert rows["red"]["cost_per_thousand"] > 0
    assert bill["saved"]["seconds"] > 0, "time at zero after the end"
    assert "lab/words" in table
