"""The images, as far as no Docker engine is needed: what the Dockerfile says, copies, and would install."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "images/Dockerfile"
TARGETS = ("predictor", "transformer", "dispatcher")
SERVERS = ("predictor", "transformer")


@dataclass(frozen=True, slots=True)
class Stage:
    """One ``FROM``, with the instructions below it."""

    base: str
    name: str
    instructions: tuple[tuple[str, str], ...]


def stages() -> dict[str, Stage]:
    """The stages by name, in order."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    found: dict[str, Stage] = {}
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = re.sub(r"\s+", " ", rest).partition(" AS ")
            found[name] = Stage(base, name, ())
        elif found:
            last = list(found)[-1]
            found[last] = Stage(found[last].base, last, (*found[last].instructions, (word, " ".join(rest.split()))))
    return found


def whole(name: str) -> list[tuple[str, str]]:
    """The instructions of a target: its own after those of the stages that it stands on."""
    known = stages()
    found: list[tuple[str, str]] = []
    while name in known:
        found = [*known[name].instructions, *found]
        name = known[name].base.replace("${VARIANT}", "cpu")
    return found


def last(name: str, word: str) -> str:
    """What the last such instruction of a target says."""
    return [rest for each, rest in whole(name) if each == word][-1]


def kept(path: str) -> bool:
    """Whether ``.dockerignore`` lets a path through; the last line that fits decides, as Docker has it."""
    verdict = True
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    for line in lines:
        allow, pattern = line.startswith("!"), line.removeprefix("!")
        parents = ["/".join(path.split("/")[: count + 1]) for count in range(path.count("/") + 1)]
        tail = pattern.removeprefix("**/")
        if any(fnmatch(each, pattern) or (tail != pattern and fnmatch(each.split("/")[-1], tail)) for each in parents):
            verdict = allow
    return verdict


def copied() -> list[str]:
    """Every file or folder that the Dockerfile copies from the repository."""
    found = []
    for stage in stages().values():
        for word, rest in stage.instructions:
            if word == "COPY" and not rest.startswith("--from="):
                found += rest.split()[:-1]
    return sorted(set(found))


def test_hadolint_has_nothing_to_say() -> None:
    """Its rules are the field's: pinned bases, no cache left behind, one shell a step."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: its wheel is for x86-64 Linux")
    done = subprocess.run(
        [hadolint, "--no-color", str(DOCKERFILE)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_runs_as_a_numbered_user_without_rights(target: str) -> None:
    """`runAsNonRoot` can only be checked of a number."""
    assert re.fullmatch(r"[1-9][0-9]{3,}:[1-9][0-9]{3,}", last(target, "USER"))


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_writes_nothing_outside_tmp(target: str) -> None:
    """A pod with a read-only root gives it /tmp alone: no bytecode, no caches anywhere else."""
    variables = " ".join(rest for word, rest in whole(target) if word == "ENV")
    for each in ("PYTHONDONTWRITEBYTECODE=1", "PYTHONSAFEPATH=1", "HOME=/tmp", "XDG_CACHE_HOME=/tmp/"):
        assert each in variables
    assert not [rest for word, rest in whole(target) if word == "VOLUME"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_has_no_tool_to_build_with(target: str) -> None:
    """It gets a built environment; what built it stays behind. Its modules are compiled."""
    own = stages()[target].instructions
    assert [rest for word, rest in own if word == "COPY"] == [f"--from=build-{target} /opt/headrace /opt/headrace"]
    assert not [rest for word, rest in own if word == "RUN"]
    build = " ".join(rest for word, rest in stages()[f"build-{target}"].instructions if word == "RUN")
    assert "compileall" in build
    assert "pip uninstall --yes pip" in build
    assert "/opt/headrace/sbom.cdx.json" in build


@pytest.mark.parametrize("target", SERVERS)
def test_a_server_says_whether_it_lives(target: str) -> None:
    """Docker asks what Kubernetes' probe asks; the command is valid, and its code compiles."""
    check = last(target, "HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "healthcheck", "exec")
    assert "/v2/health/live" in command[2]
    assert last(target, "ENTRYPOINT") == '["headrace"]'


def test_bases_are_pinned_and_come_from_one_place() -> None:
    """One base for all stages, with an exact version; a digest can be given in its place."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert re.search(r"^ARG BASE=python:3\.1[0-3]\.[0-9]+-slim-\w+$", text, flags=re.MULTILINE)
    known = stages()
    bases = {stage.base for stage in known.values()} - {*known, "predictor-${VARIANT}"}
    assert bases == {"${BASE}"}
    assert {"predictor-cpu", "predictor-cuda"} <= known.keys()
    assert not [rest for stage in known.values() for word, rest in stage.instructions if word == "ADD"]


def test_everything_copied_is_there_and_reaches_the_builder() -> None:
    """A path that is gone, or that .dockerignore holds back, breaks the build on the first step."""
    assert len(copied()) >= 10
    for each in copied():
        assert (ROOT / each).exists(), each
        assert kept(each), each


@pytest.mark.parametrize(
    "path",
    ["tests/conftest.py", ".git/config", ".venv/bin/python", "docs/images.md", ".env",
     "runtime/headrace/.env", "runtime/headrace/cli/__pycache__/main.pyc", "manifests/kustomize/a.yaml", "id_rsa"],
)  # fmt: skip
def test_nothing_else_reaches_the_builder(path: str) -> None:
    """Secrets of a working folder, its environment and its history stay where they are."""
    assert not kept(path)


def test_what_is_copied_makes_the_wheel(tmp_path: Path) -> None:
    """The stage `wheel` works with exactly what it copies, without a network."""
    for word, rest in stages()["wheel"].instructions:
        for each in rest.split()[:-1] if word == "COPY" else ():
            source, target = ROOT / each, tmp_path / (each if (ROOT / each).is_dir() else Path(each).name)
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "kustomize")
                shutil.copytree(source, target, ignore=ignore)
            else:
                shutil.copy(source, target)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "wheels")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "wheels").glob("headrace-*.whl"))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the images' Python has tomllib")
@pytest.mark.parametrize(
    ("extras", "named", "not_named"),
    [((), "kserve", "torch"), (("image",), "pillow", "kserve"), (("torch",), "torch", "kserve")],
)
def test_the_libraries_of_a_layer(extras: tuple[str, ...], named: str, not_named: str) -> None:
    """The dispatcher has no torch; a layer has what its stage asks for."""
    command = [sys.executable, str(ROOT / "images/requirements.py"), str(ROOT / "pyproject.toml"), *extras]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    names = {re.split(r"[^A-Za-z0-9_-]", line)[0] for line in lines}
    assert named in names
    assert not_named not in names


def test_the_default_user_is_the_one_that_pods_ask_for() -> None:
    """The dispatcher's Deployment and the image name the same user."""
    renderer = (ROOT / "manifests/headrace/manifests/dispatcher.py").read_text(encoding="utf-8")
    assert f"_USER = {last('dispatcher', 'USER').partition(':')[0]}" in renderer
