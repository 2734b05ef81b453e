"""``headrace broker``: what its options do, and that a user's mistake is one sentence."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import kafka
import pytest

from headrace.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

WAIT = 20.0
PROGRAM = [sys.executable, "-c", "from headrace.cli.main import main; main()", "broker", "--port", "0"]


def test_the_options_reach_the_broker(tmp_path: Path) -> None:
    """Users, defaults of topics and syncs as they are given; SIGTERM ends it without a word."""
    users = tmp_path / "users"
    users.write_text("ann:a:b\n\nbob:secret\n")
    options = ["--data", str(tmp_path / "data"), "--users", str(users), "--topic-default", "retention.ms=5000"]
    options += ["--retention-check", "0.1", "--sync", "50ms"]
    with subprocess.Popen([*PROGRAM, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith("Kafka on 127.0.0.1:")
            address = said.split(",")[0].removeprefix("Kafka on ")
            login = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-256"}
            producer = kafka.KafkaProducer(
                bootstrap_servers=address, sasl_plain_username="ann", sasl_plain_password="a:b", **login
            )
            assert producer.send("t", b"v").get(WAIT).offset == 0
            producer.close()
        finally:
            process.terminate()
            _, told = process.communicate(timeout=WAIT)
    assert process.returncode == 0
    assert "secret" not in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--sync", "often"], "never, each"),
        (["--sync", "0ms"], "never, each"),
        (["--topic-default", "retention.ms"], "NAME=VALUE"),
        (["--topic-default", "retention.ms=soon"], "retention.ms"),
        (["--topic-default", "retention.mss=1"], "retention.mss"),
        (["--certificate", "x.pem"], "--key"),
        (["--certificate", "x.pem", "--key", "y.pem"], "x.pem"),
        (["--users", "nobody"], "USER:PASSWORD"),
        (["--users", "USERS"], "line 2"),
    ],
)
def test_a_mistake_is_told_in_one_sentence_with_its_remedy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    told: str,
) -> None:
    """No traceback, no password, and the end at once."""
    (tmp_path / "USERS").write_text("ann:hidden\nhidden too\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    with pytest.raises(SystemExit) as ended:
        main(["broker", "--port", "0", "--data", str(tmp_path / "data"), *options])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said
    assert "hidden" not in said
