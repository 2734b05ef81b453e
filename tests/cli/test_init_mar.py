"""``headrace init --from-mar``: a TorchServe archive served, by its own handler, without TorchServe."""

from __future__ import annotations

import base64
import json
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from tests.cli.test_init import commands, init, made, run
from tests.predictors.torchserve.archives import mar, pictures_mar, texts_mar

from headrace.testing.app import running_app

if TYPE_CHECKING:
    from collections.abc import Sequence

PICTURE = Path(__file__).parents[2] / "examples/pictures/coffee.jpg"
SILERO = "pypi://silero-vad==6.2.3/silero_vad/data/silero_vad.jit"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_eager_model_with_its_handler(tmp_path: Path) -> None:
    """EfficientNet-Lite0: answered by event, at TorchServe's path and over v1, by the archive's own handler."""
    archive, home = pictures_mar(tmp_path / "lite.mar"), tmp_path / "home"
    home.mkdir()
    folder = made(tmp_path / "lite", "--from-mar", str(archive), "--namespace", "vision")
    with running_app(folder / "headrace.yaml", home) as app:
        event_id = app.publish("lite-0", PICTURE)["coffee.jpg"]
        answer = app.answers("lite-0.answers", event_id)[event_id]
        (first, _) = json.loads(answer.data or b"null")
        assert first == "espresso"
        encoded = base64.b64encode(PICTURE.read_bytes()).decode()
        v1 = app.post("lite-0", "/v1/models/lite-0:predict", {"instances": [{"data": encoded}]})
        assert next(iter(v1["predictions"][0])) == "espresso"
        request = urllib.request.Request(
            app.state()["ingress"] + "/predictions/lite-0",
            data=PICTURE.read_bytes(),
            headers={"Host": "lite-0.vision.localhost", "Content-Type": "image/jpeg"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            assert json.load(response) == json.loads(answer.data or b"null")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_torchscript_model_and_the_projects_own_tests(tmp_path: Path) -> None:
    """The commands of its README, on an archive of Silero VAD as its package ships it, with a handler of functions."""
    from headrace.models.storage import model_path  # noqa: PLC0415  # beside its use

    archive = texts_mar(tmp_path / "vad.mar", model_path(SILERO))
    folder = made(tmp_path / "vad", "--from-mar", str(archive))
    told = commands(folder)
    assert told == {
        "Set up": ["python -m pip install -r requirements.txt"],
        "Test it": ["pytest"],
        "Run it": ["headrace up"],
    }
    for line in told["Set up"]:
        run(line, folder)
    assert "2 passed" in run("pytest", folder, {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})


def test_the_archives_settings_are_taken_over_or_named(tmp_path: Path) -> None:
    """Batches and workers go to headrace.yaml; what means nothing here is printed, and stands in the README."""
    folder = tmp_path / "lite"
    done = init(str(folder), "--from-mar", str(pictures_mar(tmp_path / "lite.mar")))
    assert done.returncode == 0, done.stderr
    spec = yaml.safe_load((folder / "headrace.yaml").read_text())
    assert spec["metadata"] == {"name": "lite-0", "namespace": "default"}
    predictor = spec["spec"]["predictor"]
    assert predictor["batching"] == {"maxSize": 4, "maxDelay": "20ms"}
    assert predictor["scale"]["max"] == 2
    assert (folder / "archive/MAR-INF/MANIFEST.json").exists()
    assert "efficientnet-lite-pytorch" in (folder / "requirements.txt").read_text()
    for text in (done.stdout, (folder / "README.md").read_text()):
        assert "/predictions/lite-0 in place of /predictions/Lite_0" in text
        assert "parallelType is passed over" in text
        assert "responseTimeout is passed over" in text
        assert "TorchServe would have installed it by itself" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--from-mar", "none.mar"], "There is no file none.mar"),
        (["--from-mar", "none.mar", "--example", "text"], "exclude each other"),
    ],
)
def test_wrong_usage(words: Sequence[str], told: str, tmp_path: Path) -> None:
    """Exit code 2, and nothing is written."""
    done = init(str(tmp_path / "p"), *words)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "p").exists()


def test_archives_that_cannot_be_served_leave_nothing(tmp_path: Path) -> None:
    """A handler that is not here, and an entry that leads out: named, exit code 1, no folder."""
    kinds: list[tuple[str, dict[str, bytes | str | Path], str]] = [
        ("image_segmenter", {}, "'image_segmenter' is not supported"),
        ("h.py", {"h.py": "", "../../evil.py": ""}, "leads out"),
    ]
    for handler, files, told in kinds:
        archive = mar(tmp_path / "m.mar", {"modelName": "m", "handler": handler}, files)
        done = init(str(tmp_path / "p"), "--from-mar", str(archive))
        assert (done.returncode, told in done.stderr) == (1, True), done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "p").exists()
