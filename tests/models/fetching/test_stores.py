"""The stores' own protocols, by KServe's package, from servers on this machine."""

from __future__ import annotations

import hashlib
import logging
import sys
from typing import TYPE_CHECKING, Any

import boto3
import orjson
import pytest
from kserve_storage import Storage
from moto.server import ThreadedMotoServer

from headrace.errors import ModelLoadError
from headrace.models.fetching.checksums import digest_of
from headrace.models.storage import model_path

from .conftest import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .web import Answer, Web

FILES = {"labels/model.bin": b"weights " * 1000, "labels/more/names.txt": b"cat\ndog\n"}
SUMS = "".join(f"{hashlib.sha256(body).hexdigest()}  {name[7:]}\n" for name, body in FILES.items()).encode()
LOGIN = {"AWS_ACCESS_KEY_ID": "the-access-key", "AWS_SECRET_ACCESS_KEY": SECRET}


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of an S3 server with the bucket ``models``."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client: Any = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="models")
    for name, body in {**FILES, "listed/SHA256SUMS": SUMS}.items():
        client.put_object(Bucket="models", Key=name, Body=body)
        client.put_object(Bucket="models", Key=name.replace("labels/", "listed/"), Body=body)
    client.close()
    yield url
    server.stop()


@pytest.fixture
def bucket(s3: str, environment: dict[str, str]) -> dict[str, str]:
    """Variables of a user who may read the bucket."""
    return {**environment, **LOGIN, "AWS_ENDPOINT_URL": s3, "AWS_DEFAULT_REGION": "us-east-1"}


def test_a_folder_of_a_bucket(bucket: dict[str, str]) -> None:
    """All its files, compared with the digest of their list."""
    folder = model_path("s3://models/labels", environment=bucket)
    assert {f"labels/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*.*")} == FILES
    assert model_path(f"s3://models/labels?sha256={digest_of(folder)}", environment=bucket).is_dir()
    with pytest.raises(ModelLoadError, match=digest_of(folder)):
        model_path(f"s3://models/labels?sha256={'0' * 64}", environment=bucket)


def test_a_folder_with_a_list_of_its_digests(bucket: dict[str, str]) -> None:
    """``manifest`` names the list; with ``sha256`` it is the list that must have this digest."""
    uri = f"s3://models/listed?manifest=SHA256SUMS&sha256={hashlib.sha256(SUMS).hexdigest()}"
    assert (model_path(uri, environment=bucket) / "model.bin").read_bytes() == FILES["labels/model.bin"]
    with pytest.raises(ModelLoadError, match="SHA256SUMS"):
        model_path("s3://models/labels?manifest=SHA256SUMS", environment=bucket)


def test_one_object_is_a_file(bucket: dict[str, str]) -> None:
    """A URI of one object gives the file and not its folder."""
    assert model_path("s3://models/labels/model.bin", environment=bucket).read_bytes() == FILES["labels/model.bin"]


@pytest.mark.parametrize(
    ("uri", "told"),
    [("s3://models/none", "No model found"), ("s3://no-such-bucket/labels", "'no-such-bucket' not found")],
)
def test_what_the_bucket_does_not_have(bucket: dict[str, str], uri: str, told: str) -> None:
    """The error names the URI, the store that was asked, and what is missing there."""
    with pytest.raises(ModelLoadError, match=told) as caught:
        model_path(uri, environment=bucket)
    assert uri in str(caught.value)
    assert f"Amazon S3 at {bucket['AWS_ENDPOINT_URL']}" in str(caught.value)


def test_nobody_is_logged_in(bucket: dict[str, str]) -> None:
    """The error names the variables of a login."""
    for name in LOGIN:
        del bucket[name]
    with pytest.raises(ModelLoadError, match="AWS_ACCESS_KEY_ID"):
        model_path("s3://models/labels", environment=bucket)


def test_a_repository_of_hugging_face(web: Web, environment: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """A revision's files alone, without what the client keeps beside them; the token is sent, and is not logged."""
    caplog.set_level(logging.DEBUG, "headrace")
    commit = "c" * 40
    sha = [{"type": "file", "oid": "d" * 40, "size": 7, "path": "model.bin"}]
    web.answers |= {
        f"/api/models/me/tiny/tree/{commit}": lambda _: _json(sha),
        "/api/models/me/tiny/revision/v1": lambda _: _json(
            {"id": "me/tiny", "sha": commit, "siblings": [{"rfilename": "model.bin"}]}
        ),
        f"/me/tiny/resolve/{commit}/model.bin": lambda _: (200, {"X-Repo-Commit": commit, "ETag": '"e"'}, b"weights"),
    }
    environment |= {"HF_ENDPOINT": web.url, "HF_TOKEN": SECRET}
    folder = model_path("hf://me/tiny:v1", environment=environment)
    assert [path.name for path in folder.iterdir()] == ["model.bin"]
    assert (folder / "model.bin").read_bytes() == b"weights"
    assert any(headers.get("authorization") == f"Bearer {SECRET}" for _, headers in web.asked)
    assert SECRET not in caplog.text


def test_a_repository_that_is_not_there(web: Web, environment: dict[str, str]) -> None:
    """The error names the URI and the hub that was asked."""
    missing = (404, {"X-Error-Code": "RepoNotFound"}, b"{}")
    web.answers["/api/models"] = lambda _: missing
    with pytest.raises(ModelLoadError, match=f"hf://me/none.*Hugging Face at {web.url}.*RepositoryNotFoundError"):
        model_path("hf://me/none", environment={**environment, "HF_ENDPOINT": web.url})


def test_a_bucket_of_google(web: Web, environment: dict[str, str]) -> None:
    """``gs://`` asks the server that ``STORAGE_EMULATOR_HOST`` names."""
    items = [{"name": "labels/model.bin", "bucket": "models", "size": "7"}]
    web.answers |= {
        "/storage/v1/b/models/o": lambda _: _json({"kind": "storage#objects", "items": items}),
        "/download/storage/v1/b/models/o/labels%2Fmodel.bin": lambda _: (200, {}, b"weights"),
    }
    folder = model_path("gs://models/labels", environment={**environment, "STORAGE_EMULATOR_HOST": web.url})
    assert (folder / "model.bin").read_bytes() == b"weights"


def test_the_package_is_not_installed(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install, before anything is begun."""
    monkeypatch.setitem(sys.modules, "kserve_storage", None)
    with pytest.raises(ModelLoadError, match=r"s3://models/labels.*headrace\[storage\]"):
        model_path("s3://models/labels", environment=environment)


def test_archives_are_left_to_us() -> None:
    """What stands for KServe's unpacking has its place there; a checksum is compared before anything is unpacked."""
    assert callable(Storage._unpack_archive_file)


def _json(value: Any) -> Answer:
    return 200, {"Content-Type": "application/json"}, orjson.dumps(value)
