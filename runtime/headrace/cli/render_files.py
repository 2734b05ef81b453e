"""The files that ``headrace render -o FOLDER`` writes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from headrace.cli.render import Form
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.packaging.files import Files
    from headrace.manifests.spec import InferenceApp

LIST = ".headrace-files"
"""Names what was written last time, so that a file whose resource went goes too and is applied no more."""


def files_of(form: Form, file: Path, apps: Sequence[InferenceApp], options: RenderOptions) -> Files:
    """Path and text of every file of a form; ``apps`` are those of ``file`` under the profile asked for."""
    from headrace.manifests.loading import load_apps
    from headrace.manifests.packaging.files import plain
    from headrace.manifests.packaging.helm import helm
    from headrace.manifests.packaging.kustomize import kustomize
    from headrace.manifests.profiles import profile_names
    from headrace.manifests.rendering import render_all

    resources = render_all(apps, options)
    if form == "yaml":
        return plain(resources)
    if form == "helm":
        return helm(_chart_name(file, apps), resources, options)
    names = dict.fromkeys(name for app in apps for name in profile_names(app))
    return kustomize(resources, {name: render_all(load_apps(file, name), options) for name in names})


def write(files: Files, folder: Path) -> None:
    """Write the files, and remove those of the last time that are not among them.

    Raises:
        ConfigurationError: the folder or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in _written_before(folder) - files.keys():
            (folder / name).unlink(missing_ok=True)
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (folder / LIST).write_text("".join(f"{name}\n" for name in sorted(files)), encoding="utf-8")
    except OSError as fault:
        raise ConfigurationError(
            f"{folder} cannot be written: {fault.strerror}", hint="name another -o FOLDER"
        ) from fault


def _written_before(folder: Path) -> set[str]:
    """The files of the last time; only ones below the folder, whatever stands in the list."""
    try:
        names = (folder / LIST).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return set()
    return {name for name in names if name and not name.startswith("/") and ".." not in name.split("/")}


def _chart_name(file: Path, apps: Sequence[InferenceApp]) -> str:
    """The app's name; of several apps the folder's."""
    if len(apps) == 1:
        return apps[0].name
    words = re.sub(r"[^a-z0-9]+", "-", file.resolve().parent.name.lower()).strip("-")
    return words or "headrace-apps"
