"""Command lines written for KServe's own model server start ours."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from headrace.cli.kserve_flags import applied
from headrace.errors import ConfigurationError

LISTED = """
import sys
sys.argv = sys.argv[:1]
import kserve.model_server as server
print(*(option for action in server.parser._actions for option in action.option_strings))
"""


def test_every_flag_of_kserves_is_known() -> None:
    """Of the release that is installed: taken by `serve` itself, passed over, or refused with a reason."""
    listed = subprocess.run([sys.executable, "-c", LISTED], capture_output=True, text=True, check=True, timeout=100)
    flags = [flag for flag in listed.stdout.split() if flag.startswith("--") and flag != "--help"]
    assert "--enable_docs_url" in flags
    shown = subprocess.run(
        [sys.executable, "-m", "headrace.cli.main", "serve", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
        env={"COLUMNS": "200", "PATH": ""},
    )
    own = set(re.findall(r"--[\w-]+", shown.stdout))
    for flag in flags:
        if flag in own:
            continue
        try:
            assert applied([flag, "1"]) in ([], ["1"]), flag
        except ConfigurationError:
            assert flag.startswith("--ssl_"), flag


def test_what_means_nothing_here_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """With its reason, and taken off the line with its value, in either form; all else stays."""
    words = ["serve", "--model_name", "m", "--max_threads=4", "--enable_docs_url", "true", "--class", "a:B"]
    assert applied(words) == ["serve", "--model_name", "m", "--class", "a:B"]
    told = capsys.readouterr().err
    assert "--max_threads has no effect: a model has one thread" in told
    assert "--enable_docs_url has no effect" in told


def test_the_models_folder_by_kserves_name() -> None:
    """ServingRuntimes say --model_dir=/mnt/models."""
    assert applied(["--model_dir=/mnt/models"]) == ["--model=/mnt/models"]
    assert applied(["--model-dir", "/mnt/models"]) == ["--model", "/mnt/models"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--max_threads", "many"], "--max_threads 'many' is not a whole number"),
        (["--enable_docs_url=perhaps"], "'perhaps' is not true or false"),
        (["--log_config_file"], "--log_config_file '' is not given"),
        (["--ssl_certfile", "x.pem"], "--ssl_certfile is not supported: this server speaks plain HTTP"),
    ],
)
def test_nonsense_is_refused(words: list[str], told: str) -> None:
    """And so is what must not be passed over: who asks for TLS does not get plain HTTP."""
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        applied(words)


def test_a_flag_that_nobody_knows_is_refused() -> None:
    """By the command, with exit code 2."""
    command = [sys.executable, "-m", "headrace.cli.main", "serve", "--class", "a:B", "--nonsense", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 2
    assert "--nonsense" in done.stderr
