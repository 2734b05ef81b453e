"""The main job as a user does it: publish pictures, read labels, call over HTTP, look at a trace, make mistakes."""

from __future__ import annotations

import base64
import json
import struct
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from kafka import KafkaProducer

from headrace.testing.app import until

if TYPE_CHECKING:
    from headrace.eventing.event import CloudEvent
    from headrace.testing.app import AppRunner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


EXAMPLE = Path(__file__).parents[2] / "examples" / "pictures" / "headrace.yaml"
LABELS = "pictures.labels"


def data_of(event: CloudEvent) -> Any:
    """The JSON of an answer."""
    return json.loads(event.data or b"null")


def label(answer: CloudEvent) -> str:
    """The likeliest label of a result event."""
    return str(data_of(answer)["predictions"][0]["label"])


def ask(up: AppRunner, *files: Path) -> dict[str, CloudEvent]:
    """Publish files as a user does; file name -> answer."""
    ids = up.publish("pictures", *files)
    answers = up.answers(LABELS, *ids.values())
    return {name: answers[event_id] for name, event_id in ids.items()}


def call(up: AppRunner, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """POST to the app's host at the ingress: status, headers, body."""
    host = {"Host": "picture-labels.vision.localhost"}
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(up.state()["ingress"] + path, data=body, headers={**host, **sent}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=90) as response:
            return response.status, {k.lower(): v for k, v in response.headers.items()}, response.read()
    except urllib.error.HTTPError as fault:
        with fault:
            return fault.code, {k.lower(): v for k, v in fault.headers.items()}, fault.read()


def test_known_pictures_get_their_labels(up: AppRunner, pictures: dict[str, Path]) -> None:
    """coffee.png is an espresso, chelsea.png a cat, rocket.jpg a missile or projectile, through Kafka both ways."""
    answers = ask(up, *(pictures[name] for name in ("coffee.png", "chelsea.png", "rocket.jpg")))
    assert label(answers["coffee.png"]) == "espresso"
    assert "cat" in label(answers["chelsea.png"])
    assert label(answers["rocket.jpg"]) in ("missile", "projectile")
    result = answers["coffee.png"]
    assert (result.source, result.type) == ("/headrace/vision/picture-labels", "dev.headrace.inference.result.v1")
    assert result.get("correlationid") == result.get("causationid")
    assert result.get("subject") == "coffee.png"


def test_results_for_people_and_programs(up: AppRunner, pictures: dict[str, Path]) -> None:
    """`headrace results` prints a line an answer, with picture, event id and label; as JSON it prints the events."""
    event_id = ask(up, pictures["coffee.png"])["coffee.png"].get("causationid")
    lines = up.succeed("results").splitlines()
    assert any("coffee.png" in line and event_id in line and "espresso 95%" in line for line in lines)
    events = [json.loads(line) for line in up.succeed("results", "--output", "json").splitlines()]
    assert event_id in {event["causationid"] for event in events}


def test_http_callers_share_the_model(up: AppRunner, pictures: dict[str, Path]) -> None:
    """The endpoint answers a CloudEvent in binary and structured mode, KServe v1, v2 JSON and v2 binary."""
    data = pictures["coffee.png"].read_bytes()
    encoded = base64.b64encode(data).decode()
    event = {"ce_specversion": "1.0", "ce_id": "7", "ce_source": "/here", "ce_type": "t"}

    status, headers, body = call(up, "/", data, **event, content_type="image/png")
    assert (status, headers["ce-causationid"]) == (200, "7")
    assert json.loads(body)["predictions"][0]["label"] == "espresso"

    structured = {k[3:]: v for k, v in event.items()} | {"datacontenttype": "image/png", "data_base64": encoded}
    kind = "application/cloudevents+json; charset=UTF-8"
    status, headers, body = call(up, "/", json.dumps(structured).encode(), content_type=kind)
    assert status == 200
    assert json.loads(body)["data"]["predictions"][0]["label"] == "espresso"

    v1 = json.dumps({"instances": [{"b64": encoded}]}).encode()
    status, _, body = call(up, "/v1/models/picture-labels:predict", v1, content_type="application/json; charset=utf-8")
    assert json.loads(body)["predictions"][0]["label"] == "espresso"

    tensor = {"name": "picture", "datatype": "BYTES", "shape": [1], "data": [encoded]}
    v2 = json.dumps({"inputs": [tensor]}).encode()
    status, _, body = call(up, "/v2/models/picture-labels/infer", v2, content_type="application/json")
    outputs = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
    assert (status, outputs["label"][0]) == (200, "espresso")

    raw = struct.pack("<I", len(data)) + data
    header = json.dumps({"inputs": [{**tensor, "data": None, "parameters": {"binary_data_size": len(raw)}}]})
    header = header.replace('"data": null, ', "")
    status, _, body = call(
        up,
        "/v2/models/picture-labels/infer",
        header.encode() + raw,
        content_type="application/octet-stream",
        inference_header_content_length=str(len(header)),
    )
    assert status == 200, body
    assert b"espresso" in body


def bomb() -> bytes:
    """A PNG of a few hundred bytes that claims 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_bad_pictures_are_dead_letters_and_their_neighbours_are_answered(
    up: AppRunner, pictures: dict[str, Path], tmp_path: Path
) -> None:
    """A text file, half a JPEG, a decompression bomb and an empty file: each refused with its reason, once."""
    bad = {
        "words.txt": (b"no picture at all", "picture"),
        "half.jpg": (pictures["rocket.jpg"].read_bytes()[:20_000], "damaged"),
        "bomb.png": (bomb(), "60000"),
        "nothing.png": (b"", "empty"),
    }
    for name, (content, _) in bad.items():
        (tmp_path / name).write_bytes(content)
    files = [tmp_path / name for name in bad]
    answers = ask(up, pictures["coffee.png"], *files, pictures["chelsea.png"])
    assert label(answers["coffee.png"]) == "espresso"
    assert "cat" in label(answers["chelsea.png"])
    letters = {event.id: event for event in up.read("pictures.dead-letters")}
    for name, (content, reason) in bad.items():
        assert answers[name].type == "dev.headrace.inference.error.v1"
        assert reason in data_of(answers[name])["detail"]
        letter = letters[answers[name].get("causationid")]
        assert (letter.data or b"") == content
        assert (letter.get("hrreason"), letter.get("hrattempts")) == ("rejected", "1")
        assert letter.get("knativeerrorcode") == "400"


def test_records_that_are_no_events_are_dead_letters(up: AppRunner, pictures: dict[str, Path]) -> None:
    """A broken structured event is dead-lettered as invalid; a plain record is an event of Knative's wrapped kind."""
    kafka = up.state()["kafka"]
    producer = KafkaProducer(bootstrap_servers=kafka)
    broken = producer.send("pictures", b"{", headers=[("content-type", b"application/cloudevents+json")]).get(20)
    picture = pictures["coffee.png"].read_bytes()
    plain = producer.send("pictures", picture, headers=[("content-type", b"image/png")]).get(20)
    producer.close()
    ids = [f"partition:{place.partition}/offset:{place.offset}" for place in (broken, plain)]
    answers = up.answers(LABELS, *ids)
    assert data_of(answers[ids[0]])["code"] == "invalid"
    assert label(answers[ids[1]]) == "espresso"
    letters = {event.id: event for event in up.read("pictures.dead-letters")}
    assert (letters[ids[0]].get("hrreason"), letters[ids[0]].data) == ("invalid", b"{")


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(
    up: AppRunner, pictures: dict[str, Path], tmp_path: Path
) -> None:
    """60 MB: the message names the file, its size, the limit and a remedy; the picture beside it is sent."""
    large = tmp_path / "large.tif"
    with large.open("wb") as file:
        file.truncate(60 * 1024 * 1024)
    answer = up.command("publish", "--topic", "pictures", "--output", "json", str(large), str(pictures["coffee.png"]))
    assert answer.returncode == 1
    assert "large.tif has 62,914,560 bytes; an event takes at most 16,711,680" in answer.stderr
    assert "object store" in answer.stderr
    assert "Traceback" not in answer.stderr
    up.answers(LABELS, json.loads(answer.stdout)["id"])


def test_a_large_request_is_refused_by_the_server(up: AppRunner) -> None:
    """60 MB over HTTP: 413, and the next caller is answered."""
    status, _, _ = call(
        up, "/v1/models/picture-labels:predict", bytes(60 * 1024 * 1024), content_type="application/json"
    )
    assert status == 413
    status, _, _ = call(up, "/v1/models/picture-labels:predict", b"{}", content_type="application/json")
    assert status == 400


def test_status_names_what_runs(up: AppRunner, pictures: dict[str, Path]) -> None:
    """`headrace status` shows both services, the dispatcher and the addresses, to people and to programs."""
    ask(up, pictures["coffee.png"])
    document = up.status()
    assert {service["name"] for service in document["services"]} == {
        "picture-labels-predictor",
        "picture-labels-transformer",
    }
    assert document["workloads"][0]["state"] == "running"
    shown = up.succeed("status")
    assert "vision/picture-labels-predictor" in shown
    assert document["kafka"] in shown


def test_status_says_where_the_seconds_of_a_cold_start_went(up: AppRunner, pictures: dict[str, Path]) -> None:
    """By phase, for each service; replicas are forked from a process that has imported torch and the model's code."""
    ask(up, pictures["coffee.png"])

    def known() -> dict[str, dict[str, float]]:
        """Empty until both are there: spans are sent a little after the fact."""
        starts = {start["service"]: start for start in up.status()["cold_starts"]}
        assert all(start["forked"] for start in starts.values())
        phases = {name: dict(start["phases"]) for name, start in starts.items()}
        return phases if len(phases) == 2 and all("first answer" in each for each in phases.values()) else {}

    for found in until(known, "the phases of two services").values():
        assert [*found] == ["schedule", "import", "load", "warm-up", "probe", "first answer"]
    assert "warm-up" in up.succeed("status")


def test_a_second_up_on_the_same_home_is_refused(up: AppRunner) -> None:
    """One home has one twin: the second says which process has it and what to do."""
    answer = up.command("up", "-f", str(EXAMPLE), "--port", "0", "--kafka-port", "0")
    assert answer.returncode == 2
    assert str(up.pid) in answer.stderr
    assert "Traceback" not in answer.stderr


def test_tensors_travel_as_bytes(up: AppRunner, pictures: dict[str, Path]) -> None:
    """The predictor behind the transformer takes the v2 binary extension: 600 kB in, 4 kB out, no JSON list."""
    address = next(s["url"] for s in up.status()["services"] if s["name"].endswith("predictor"))
    raw = np.zeros((1, 3, 224, 224), np.float32).tobytes()
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 3, 224, 224]}
    header = json.dumps(
        {
            "inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    request = urllib.request.Request(
        f"{address}/v2/models/picture-labels/infer",
        data=header + raw,
        headers={"Inference-Header-Content-Length": str(len(header)), "Content-Type": "application/octet-stream"},
    )
    with urllib.request.urlopen(request, timeout=90) as response:
        body = response.read()
        length = int(response.headers["Inference-Header-Content-Length"])
    assert len(body) - length == 4000
    assert np.isfinite(np.frombuffer(body[length:], np.float32)).all()
