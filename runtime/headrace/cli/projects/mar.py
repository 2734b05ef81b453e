"""A new project that serves a TorchServe archive."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.cli.projects.project import ARCHIVE, SPEC, Project
from headrace.errors import ConfigurationError, HeadraceError
from headrace.predictors.torchserve.archive import read_config, read_manifest, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headrace.predictors.torchserve.archive import Manifest

_TO_LOOK_AT = (".json", ".py", ".txt", ".yaml", ".yml")
"""Endings of the files that say what an archive is; weights are not among them."""
_TEXTS = Path(__file__).with_name("mar_texts")
_USUAL_REQUIREMENTS = ("headrace[torch,image]", "pytest")
_TAKEN_OVER = {"batchSize", "maxBatchDelay", "maxWorkers", "handler", "minWorkers"}
_PASSED_OVER = {
    "responseTimeout": "a deadline is the caller's: x-envoy-expected-rq-timeout-ms, or an event's expirytime",
    "startupTimeout": "a replica may take as long as the cold start: docs/cluster.md",
    "deviceType": "the device is resources.gpu of headrace.yaml, and HEADRACE_DEVICE",
    "deviceIds": "the cluster chooses the GPU",
    "parallelType": "one replica runs one process; models spread over GPUs are not supported",
    "parallelLevel": "one replica runs one process; models spread over GPUs are not supported",
    "torchrun": "one replica runs one process; models spread over GPUs are not supported",
    "pippy": "models spread over GPUs are not supported",
    "deepspeed": "models spread over GPUs are not supported",
    "pt2": "HEADRACE_COMPILE compiles Headrace's own torch predictors only",
    "sequenceMaxIdleMSec": "state by key is docs/batching.md's; TorchServe's sequence batching is not supported",
    "continuousBatching": "not supported",
    "asyncCommunication": "not supported",
    "useVenv": "the requirements are installed into the project's own environment",
}
"""Settings of an archive's configuration that mean nothing here, and what stands in their place."""


def mar_project(archive: Path, name: str | None, namespace: str | None) -> Project:
    """The archive's files, and an app that serves them.

    Args:
        archive: The ``.mar``.
        name: The app's name; None makes one of the model's.
        namespace: The app's namespace; None takes ``default``.

    Raises:
        ConfigurationError: there is no such file, or the name is none for Kubernetes.
        ModelLoadError: it is no archive, or wants what is not here.
    """
    if not archive.is_file():
        raise ConfigurationError(f"There is no file {archive}", hint="name a .mar that torch-model-archiver wrote")
    with tempfile.TemporaryDirectory(prefix="headrace-mar-") as place:
        folder = Path(place)
        try:
            unpack(archive, folder, endings=_TO_LOOK_AT)
            manifest = read_manifest(folder)
            config = read_config(folder, manifest)
        except HeadraceError as fault:
            # The place where it was looked at is nothing that the user knows.
            raise type(fault)(fault.message.replace(str(folder), str(archive)), hint=fault.hint) from fault
        own = folder / manifest.requirements
        requirements = own.read_text(errors="replace") if manifest.requirements and own.is_file() else ""
    app = name or _app_name(manifest)
    notes = tuple(_notes(manifest, config, app))
    values = _values(manifest, config, app, namespace or "default", notes)
    files = {path: _filled(path, values).encode() for path in (SPEC, "README.md", "tests/test_app.py")}
    files |= {path: (_TEXTS / f"{path}.txt").read_bytes() for path in ("conftest.py", "pytest.ini")}
    wanted = [*_USUAL_REQUIREMENTS, *(line for line in requirements.splitlines() if line.strip())]
    files["requirements.txt"] = ("\n".join(wanted) + "\n").encode()
    first = ("pip install -r requirements.txt", "pytest                  its tests", "headrace up             runs it")
    return Project(app, files, first, notes, archive)


def _app_name(manifest: Manifest) -> str:
    found = re.sub(r"[^a-z0-9]+", "-", manifest.name.lower()).strip("-")
    return found[:40].strip("-") or "model"


def _notes(manifest: Manifest, config: Mapping[str, Any], app: str) -> Iterator[str]:
    if app != manifest.name:
        yield f"the model is called {app} here: /predictions/{app} in place of /predictions/{manifest.name}"
    for key in sorted(config):
        if key in _PASSED_OVER:
            yield f"{manifest.config_file}: {key} is passed over: {_PASSED_OVER[key]}"
        elif key not in _TAKEN_OVER:
            yield f"{manifest.config_file}: {key} is left to the handler, as TorchServe leaves it"
    if manifest.requirements:
        yield f"{manifest.requirements} is in requirements.txt; TorchServe would have installed it by itself"


def _values(
    manifest: Manifest, config: Mapping[str, Any], app: str, namespace: str, notes: tuple[str, ...]
) -> dict[str, str]:
    return {
        "app": app,
        "namespace": namespace,
        "model": manifest.name,
        "handler": manifest.handler,
        "size": str(max(1, _whole(config, "batchSize", 1))),
        "delay": f"{_whole(config, 'maxBatchDelay', 5)}ms",
        "max": str(max(1, _whole(config, "maxWorkers", 4))),
        "archive": ARCHIVE,
        "notes": "\n".join(f"- {note}" for note in notes) or "- nothing that this archive has",
    }


def _whole(config: Mapping[str, Any], key: str, default: int) -> int:
    value = config.get(key, default)
    if type(value) is not int or value < 0:
        raise ConfigurationError(f"The archive's configuration: {key} is {value!r}, not a whole number of 0 or more")
    return value


def _filled(path: str, values: Mapping[str, str]) -> str:
    text = (_TEXTS / f"{path}.txt").read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"<{key}>", value)
    return text
