"""Models by plain HTTP, from servers on this machine."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from headrace.errors import ModelLoadError
from headrace.models.storage import model_path

from .conftest import SECRET

if TYPE_CHECKING:
    from pathlib import Path

    from .web import Web

WEIGHTS = bytes(range(256)) * 4096


def test_a_file_over_tls_once_for_all(
    secure: Web, environment: dict[str, str], certificate: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fetched with a login and a checksum, it is kept: the second time nothing is asked. The log has no login."""
    caplog.set_level(logging.DEBUG, "headrace")
    secure.files["/labels/model.bin"] = WEIGHTS
    secure.login = f"Basic {base64.b64encode(f'me:{SECRET}'.encode()).decode()}"
    environment["SSL_CERT_FILE"] = str(certificate)
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    uri = f"https://me:{SECRET}@127.0.0.1:{secure.port}/labels/model.bin?sha256={digest}"
    path = model_path(uri, environment=environment)
    assert (path.name, path.read_bytes()) == ("model.bin", WEIGHTS)
    asked = len(secure.asked)
    assert model_path(uri, environment=environment) == path
    assert len(secure.asked) == asked
    assert "model.bin: fetched 1.0 MiB" in caplog.text
    assert SECRET not in caplog.text


def test_an_authority_that_nobody_knows(secure: Web, environment: dict[str, str]) -> None:
    """The error says which variable names the authority."""
    with pytest.raises(ModelLoadError, match="SSL_CERT_FILE"):
        model_path(f"{secure.url}/model.bin", environment=environment)


def test_what_broke_off_is_taken_up_again(web: Web, environment: dict[str, str]) -> None:
    """Every byte comes once, however often the connection breaks."""
    web.files["/model.bin"] = WEIGHTS
    web.breaks += [1000, 500_000]
    assert model_path(f"{web.url}/model.bin", environment=environment).read_bytes() == WEIGHTS
    assert [headers.get("range") for _, headers in web.asked] == [None, "bytes=1000-", "bytes=501000-"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/none.bin", r"127.0.0.1:\d+ does not give it: it has no such file \(404\)"),
        ("/", "names no file"),
        (f"/gone.bin?signature={SECRET}", "410"),
    ],
)
def test_what_the_host_does_not_give_is_named(web: Web, environment: dict[str, str], path: str, told: str) -> None:
    """The error names the URI, the host and what it answered, and shows no signature."""
    web.answers["/gone.bin"] = lambda asked: (410, {}, asked.encode())
    with pytest.raises(ModelLoadError, match=told) as caught:
        model_path(f"{web.url}{path}", environment=environment)
    assert f"{web.url}{path.partition('?')[0]}" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_headers_of_a_host_go_to_no_other(web: Web, environment: dict[str, str]) -> None:
    """KServe's ``HOST-headers`` are sent, not to where the host redirects; a missing login is told with the remedy."""
    web.login = f"Bearer {SECRET}"
    with pytest.raises(ModelLoadError, match=r"wants a login.*127\.0\.0\.1-headers"):
        model_path(f"{web.url}/model.bin", environment=environment)
    environment["127.0.0.1-headers"] = f'{{"Authorization": "Bearer {SECRET}"}}'
    web.answers["/moved"] = lambda _: (302, {"Location": f"http://localhost:{web.port}/model.bin"}, b"")
    with pytest.raises(ModelLoadError, match="wants a login"):
        model_path(f"{web.url}/moved", environment=environment)
    assert web.asked[-2][1]["authorization"] == f"Bearer {SECRET}"
    assert "authorization" not in web.asked[-1][1]


def test_a_wrong_checksum_leaves_nothing(web: Web, environment: dict[str, str]) -> None:
    """The error has both digests, and what came is not kept: once it is right it is fetched anew."""
    web.files["/model.bin"] = b"something else"
    uri = f"{web.url}/model.bin?sha256={hashlib.sha256(WEIGHTS).hexdigest()}"
    with pytest.raises(ModelLoadError, match=hashlib.sha256(b"something else").hexdigest()):
        model_path(uri, environment=environment)
    web.files["/model.bin"] = WEIGHTS
    assert model_path(uri, environment=environment).read_bytes() == WEIGHTS


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_an_archive_is_what_it_holds(web: Web, environment: dict[str, str], kind: str) -> None:
    """The checksum is the archive's; the path is the folder of what was in it."""
    packed = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(packed, "w") as opened:
            opened.writestr("labels/model.bin", WEIGHTS)
    else:
        with tarfile.open(fileobj=packed, mode="w:gz") as opened_tar:
            entry = tarfile.TarInfo("labels/model.bin")
            entry.size = len(WEIGHTS)
            opened_tar.addfile(entry, io.BytesIO(WEIGHTS))
    web.files[f"/model.{kind}"] = packed.getvalue()
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    folder = model_path(f"{web.url}/model.{kind}?sha256={digest}", environment=environment)
    assert [path.name for path in folder.iterdir()] == ["labels"]
    assert (folder / "labels" / "model.bin").read_bytes() == WEIGHTS


def test_an_archive_that_leads_out_of_its_folder(web: Web, environment: dict[str, str]) -> None:
    """It is refused, and nothing of it is written."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        opened.writestr("../../evil.bin", WEIGHTS)
    web.files["/model.zip"] = packed.getvalue()
    with pytest.raises(ModelLoadError, match="leads out of the folder"):
        model_path(f"{web.url}/model.zip", environment=environment)
