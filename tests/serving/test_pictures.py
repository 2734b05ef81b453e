"""The picture example with its real weights: two processes over HTTP, under Headrace's server and under KServe's."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import skimage
from PIL import Image

from headrace.models import tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

SAMPLES = Path(skimage.__file__).parent / "data"
EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t", "content-type": "image/png"}
PREDICTOR = "headrace.predictors.efficientnet:EfficientNetLite"
TRANSFORMER = "headrace.transformers.image:ImageTransformer"
UNDER_KSERVE = """
import importlib, sys
target, port, host = sys.argv[1:4]
sys.argv = sys.argv[:1]
import kserve
module, _, name = target.partition(":")
model = getattr(importlib.import_module(module), name)("m")
model.load()
config = kserve.PredictorConfig(predictor_host=host, predictor_protocol="v2") if host else None
kserve.ModelServer(http_port=int(port), enable_grpc=False, predictor_config=config).start([model])
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def headrace_command(target: str, port: int, predictor: str) -> list[str]:
    serve = [sys.executable, "-m", "headrace.cli.main", "serve", "--class", target, "--name", "m"]
    place = ["--host", "127.0.0.1", "--http-port", str(port), "--grpc-port", "0"]
    return [*serve, *place, *(["--predictor-host", predictor] if predictor else [])]


def kserve_command(target: str, port: int, predictor: str) -> list[str]:
    return [sys.executable, "-c", UNDER_KSERVE, target, str(port), predictor]


@contextmanager
def running(command: Callable[[str, int, str], list[str]], folder: Path) -> Iterator[str]:
    """The address of a transformer whose predictor runs beside it, both ready."""
    ports = (free_port(), free_port())
    commands = (command(PREDICTOR, ports[0], ""), command(TRANSFORMER, ports[1], f"127.0.0.1:{ports[0]}"))
    with (folder / "log").open("wb") as log:
        processes = [subprocess.Popen(words, cwd=folder, stdout=log, stderr=log) for words in commands]
        try:
            asyncio.run(ready(ports, processes))
            yield f"http://127.0.0.1:{ports[1]}"
        except AssertionError as fault:
            raise AssertionError((folder / "log").read_text()) from fault
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Both under Headrace's server."""
    with running(headrace_command, tmp_path_factory.mktemp("ours")) as url:
        yield url


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Both under KServe's own server."""
    with running(kserve_command, tmp_path_factory.mktemp("theirs")) as url:
        yield url


@pytest.fixture(params=["ours", "theirs"])
def server(request: pytest.FixtureRequest) -> str:
    """Each of the two."""
    return str(request.getfixturevalue(request.param))


async def ready(ports: tuple[int, ...], processes: list[subprocess.Popen[bytes]]) -> None:
    ends = time.monotonic() + 90
    async with aiohttp.ClientSession() as session:
        for port in ports:
            while not await is_ready(session, port):
                assert time.monotonic() < ends
                assert all(process.poll() is None for process in processes)
                await asyncio.sleep(0.05)


async def is_ready(session: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/v2/models/m/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


def posted(url: str, *requests: tuple[str, bytes, dict[str, str]]) -> list[tuple[int, dict[str, str], bytes]]:
    """The answers to requests that are sent all at once."""

    async def run() -> list[tuple[int, dict[str, str], bytes]]:
        async with aiohttp.ClientSession() as session:

            async def one(path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
                async with session.post(url + path, data=body, headers=headers) as answer:
                    named = {name.lower(): value for name, value in answer.headers.items()}
                    return answer.status, named, await answer.read()

            return list(await asyncio.gather(*(one(*request) for request in requests)))

    return asyncio.run(run())


def label(body: bytes) -> str:
    return str(json.loads(body)["predictions"][0]["label"])


@pytest.mark.parametrize(
    ("name", "wanted"), [("coffee.png", "espresso"), ("chelsea.png", "cat"), ("rocket.jpg", "missile")]
)
def test_a_picture_gets_its_label(server: str, name: str, wanted: str) -> None:
    """As a binary event, and as v1 base64, under either server."""
    data = (SAMPLES / name).read_bytes()
    v1 = json.dumps({"instances": [{"b64": base64.b64encode(data).decode()}]}).encode()
    event, plain = posted(
        server,
        ("/v1/models/m:predict", data, EVENT),
        ("/v1/models/m:predict", v1, {"content-type": "application/json"}),
    )
    for status, _, body in (event, plain):
        assert status == 200
        assert wanted in label(body).lower()


def test_what_is_no_picture_is_the_callers_fault(server: str) -> None:
    """400 under either server, for text and for half a picture, with the reason in the body."""
    half = (SAMPLES / "coffee.png").read_bytes()[:100_000]
    answers = posted(
        server, *(("/v1/models/m:predict", body, {"content-type": "image/png"}) for body in (b"text", half))
    )
    assert [status for status, _, _ in answers] == [400, 400]
    assert b"no picture" in answers[0][2]
    assert b"damaged" in answers[1][2]


def test_many_pictures_at_once(ours: str) -> None:
    """32 events at once, two kinds of pictures in 32 sizes, are each answered for what they are."""
    cats = {281, 282, 283, 284, 285}
    names = {"coffee.png": {967}, "chelsea.png": cats}
    requests, wanted = [], []
    for at in range(32):
        name = list(names)[at % len(names)]
        picture = io.BytesIO()
        Image.open(SAMPLES / name).resize((300 + at, 260)).save(picture, "PNG")
        requests.append(("/", picture.getvalue(), {**EVENT, "ce-id": str(at)}))
        wanted.append((str(at), names[name]))
    answers = posted(ours, *requests)
    for (status, headers, body), (identifier, classes) in zip(answers, wanted, strict=True):
        assert (status, headers["ce-causationid"]) == (200, identifier)
        assert json.loads(body)["predictions"][0]["labels"][0]["class_index"] in classes


def test_a_batch_with_one_bad_picture(ours: str) -> None:
    """The bad one gets its error event, the good ones their labels, in order."""
    data = [(SAMPLES / "coffee.png").read_bytes(), b"text", (SAMPLES / "chelsea.png").read_bytes()]
    items = [
        {
            "specversion": "1.0",
            "id": str(at),
            "source": "/s",
            "type": "t",
            "datacontenttype": "image/png",
            "data_base64": base64.b64encode(file).decode(),
        }
        for at, file in enumerate(data)
    ]
    headers = {"content-type": "application/cloudevents-batch+json"}
    ((status, _, body),) = posted(ours, ("/", json.dumps(items).encode(), headers))
    answers: list[Any] = json.loads(body)
    assert status == 200
    assert [event["causationid"] for event in answers] == ["0", "1", "2"]
    assert answers[0]["data"]["predictions"][0]["label"] == "espresso"
    assert (answers[1]["type"], answers[1]["data"]["status"]) == ("dev.headrace.inference.error.v1", 400)
    assert "cat" in answers[2]["data"]["predictions"][0]["label"]


def test_v2_through_the_transformer(ours: str) -> None:
    """A BYTES tensor of one file is answered by the three tensors of its labels."""
    text = base64.b64encode((SAMPLES / "coffee.png").read_bytes()).decode()
    body = json.dumps({"inputs": [{"name": "file", "shape": [1], "datatype": "BYTES", "data": [text]}]}).encode()
    ((status, headers, answer),) = posted(ours, ("/v2/models/m/infer", body, {"content-type": "application/json"}))
    assert status == 200
    response = tensors.load_response(answer, headers.get(tensors.HEADER_LENGTH))
    assert response.outputs[0].as_numpy()[0, 0] == "espresso"


def test_without_its_predictor_it_is_unavailable(serve: Callable[..., Any]) -> None:
    """A transformer whose predictor is away answers 503 with a time to come back: the event is retried."""
    process = serve("--class", TRANSFORMER, "--model_name", "m", "--predictor_host", f"127.0.0.1:{free_port()}")
    url = process.url()
    process.ready()
    ((status, headers, body),) = posted(url, ("/", (SAMPLES / "coffee.png").read_bytes(), EVENT))
    assert (status, headers["retry-after"], json.loads(body)["code"]) == (503, "1", "unavailable")
    assert process.end() == 0


USERS = """
import kserve


class Plain(kserve.Model):
    '''As KServe's documentation shows one: no predict of its own.'''

    def preprocess(self, payload, headers=None):
        return {"instances": payload["instances"]}

    def postprocess(self, result, headers=None, response_headers=None):
        return {"predictions": [f"seen: {value}" for value in result["predictions"]]}


class Predictor(kserve.Model):
    def predict(self, payload, headers=None):
        if payload["instances"] == ["late"]:
            raise kserve.errors.ModelNotReady("m")
        return {"predictions": payload["instances"]}
"""


def test_an_unchanged_kserve_transformer(serve: Callable[..., Any], tmp_path: Path) -> None:
    """The call that kserve makes by itself works here; the predictor's status is kept, where KServe makes it 500."""
    (tmp_path / "users.py").write_text(USERS)
    predictor = serve("--class", "users:Predictor", "--name", "m")
    transformer = serve(
        "--class", "users:Plain", "--name", "m", "--predictor-host", predictor.url().removeprefix("http://")
    )
    url = transformer.url()
    predictor.ready()
    transformer.ready()
    json_headers = {"content-type": "application/json"}
    good, late = posted(
        url,
        ("/v1/models/m:predict", b'{"instances": ["a"]}', json_headers),
        ("/v1/models/m:predict", b'{"instances": ["late"]}', json_headers),
    )
    assert (good[0], json.loads(good[2])) == (200, {"predictions": ["seen: a"]})
    assert late[0] == 503
