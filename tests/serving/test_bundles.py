"""Many requests in one POST: each is answered as if it had come alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from headrace.errors import InvalidInputError
from headrace.models import bundles, tensors
from headrace.models.kserve_api import InferRequest, InvalidInput, Model

if TYPE_CHECKING:
    from collections.abc import Callable

BUNDLE = {"content-type": bundles.MEDIA_TYPE}
JSON = {"content-type": "application/json"}


class Fragile(Model):
    """Doubles; refuses negative numbers, and breaks over zero."""

    def predict(self, payload: Any, headers: Any = None) -> Any:
        """In the protocol that asked; the caller's word comes back."""
        first = payload.inputs[0].as_numpy()[0] if isinstance(payload, InferRequest) else payload["instances"][0]
        if first < 0:
            raise InvalidInput("negative")
        if first == 0:
            raise RuntimeError("zero")
        if isinstance(payload, InferRequest):
            return tensors.new_response(self.name, {"y": payload.inputs[0].as_numpy() * 2}, response_id=payload.id)
        return {"predictions": [first * 2], "word": headers.get("x-word")}


def v1(number: int, **headers: str) -> bundles.Part:
    return {"headers": {**JSON, **headers}}, orjson.dumps({"instances": [number]})


def v2(number: int) -> bundles.Part:
    headers, body = tensors.dump_request(tensors.new_request("m", {"x": np.array([number])}, request_id=str(number)))
    return {"headers": headers}, body


def asked(serving: Callable[..., Any], path: str, parts: list[bundles.Part]) -> tuple[Any, list[Any]]:
    """The answer to a bundle, and those to its parts when each comes alone."""

    async def ask(server: Any) -> Any:
        whole = await server.ask("POST", path, bundles.dump(parts), BUNDLE)
        return whole, [await server.ask("POST", path, body, said["headers"]) for said, body in parts]

    found: tuple[Any, list[Any]] = serving(Fragile("m"), ask)
    return found


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/v1/models/m:predict", [v1(3), v1(-1), v1(0), v1(4, **{"x-word": "good"})]),
        ("/v1/models/m:predict", [v1(3), ({"headers": JSON}, b"no JSON"), ({"headers": JSON}, b"")]),
        ("/v2/models/m/infer", [v2(3), v2(-1), v2(0), v2(4), ({"headers": JSON}, b"{")]),
        ("/v1/models/other:predict", [v1(3)]),
    ],
)
def test_each_part_is_answered_as_if_it_were_alone(
    serving: Callable[..., Any], path: str, parts: list[bundles.Part]
) -> None:
    """Status, headers and body of each are those of a request of its own; one that fails harms no other."""
    whole, alone = asked(serving, path, parts)
    if "other" in path:
        assert (whole.status, whole.json) == (alone[0].status, alone[0].json)
        return
    assert (whole.status, whole.headers["content-type"]) == (200, bundles.MEDIA_TYPE)
    given = [(said["status"], said["headers"], body) for said, body in bundles.load(whole.body)]
    assert given == [(each.status, each.headers, each.body) for each in alone]
    assert {each.status for each in alone} > {200}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00\x00\x00\x09[{}",
        bundles.dump([v1(1)]) + b"more",
        bundles.dump([v1(1)])[:-1],
        bundles.dump([v1(1)] * (bundles.MOST + 1)),
        b"\x00\x00\x00\x02{}",
        bundles.dump([({"headers": {"a": 1}}, b"")]),
    ],
)
def test_what_is_no_bundle_is_refused(serving: Callable[..., Any], body: bytes) -> None:
    """400 for a body that does not hold what its index tells, or too much."""
    given = serving(Fragile("m"), lambda server: server.ask("POST", "/v1/models/m:predict", body, BUNDLE))
    assert given.status == (400 if body != b"\x00\x00\x00\x02{}" else 200)
    if given.status == 200:
        assert bundles.load(given.body) == []
    else:
        with pytest.raises(InvalidInputError, match="bundle"):
            bundles.load(body)


def test_each_part_is_in_the_trace_of_its_caller(serving: Callable[..., Any], spans: Any) -> None:
    """A part with a ``traceparent`` is a SERVER span in that trace, and in no other."""
    parts = [v1(number, traceparent=f"00-{number:032x}-{number:016x}-01") for number in (1, 2)]
    asked(serving, "/v1/models/m:predict", parts)
    served = [span for span in spans.get_finished_spans() if span.kind.name == "SERVER"]
    assert [span.context.trace_id for span in served[:2]] == [1, 2]
