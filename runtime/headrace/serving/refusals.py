"""What KServe answers to a v2 request that it cannot read: the same status and body, made the way KServe makes them.

Only requests that were refused already come here, so the cost of pydantic is paid by them alone.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from headrace.models import tensors
from headrace.models.kserve_api import InvalidInput
from headrace.serving.messages import Response, json_response

if TYPE_CHECKING:
    from headrace.serving.messages import Request

_UNPROCESSABLE = 422


@lru_cache
def _shape() -> TypeAdapter[Any]:
    # Imported when the first request is refused: models that are asked well need not pay for it.
    from kserve.protocol.rest.v2_datamodels import InferenceRequest  # noqa: PLC0415

    shape: TypeAdapter[Any] = TypeAdapter(InferenceRequest | bytes)
    return shape


def is_json(content_type: str) -> bool:
    """Whether KServe reads a v2 body of this media type as JSON."""
    media_type = content_type.partition(";")[0].strip().lower()
    main, _, sub = media_type.partition("/")
    return main == "application" and (sub == "json" or sub.endswith("+json"))


def unreadable(request: Request) -> Response | None:
    """KServe's refusal of a body that it cannot read, which it makes before it looks whether there is such a model."""
    return of(request) if not request.body or is_json(request.headers.get("content-type", "")) else None


def of(request: Request) -> Response | None:
    """KServe's own refusal of this v2 request; None where KServe hands it to the model.

    Raises:
        InvalidInput: the body is to be raw tensors, and the header that says where they begin is missing.
    """
    if not request.body:
        return _refusal([{"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}])
    if not is_json(request.headers.get("content-type", "")):
        if tensors.HEADER_LENGTH in request.headers:
            return None
        raise InvalidInput(f"received byte inputs, but the'{tensors.HEADER_LENGTH}' header is missing.")
    try:
        body = json.loads(request.body)
    except json.JSONDecodeError as fault:
        return _refusal([{
            "type": "json_invalid",
            "loc": ("body", fault.pos),
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": fault.msg},
        }])  # fmt: skip
    except (ValueError, RecursionError):
        return json_response({"detail": "There was an error parsing the body"}, 400)
    try:
        _shape().validate_python(body, from_attributes=True)
    except ValidationError as fault:
        found = fault.errors(include_url=False)
        return _refusal([{**error, "loc": ("body", *error["loc"])} for error in found])
    return None


def _refusal(errors: list[Any]) -> Response:
    return json_response({"detail": to_jsonable_python(errors)}, _UNPROCESSABLE)
