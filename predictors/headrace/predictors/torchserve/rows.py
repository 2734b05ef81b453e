"""Requests as TorchServe's handlers get them: a list with an entry for each, ``{"body": ...}`` or ``{"data": ...}``."""

from __future__ import annotations

import base64
import binascii
import email.parser
import email.policy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from headrace.errors import InvalidInputError
from headrace.models import datatypes, tensors
from headrace.models.kserve_api import InferRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

JSON = "application/json"
_FORM = "multipart/form-data"


@dataclass(slots=True)
class Rows:
    """What one caller asks, or several in one run."""

    items: list[Any]
    """An entry of the handler's ``data`` each."""
    headers: list[Mapping[str, str]]
    """Of each entry's request."""
    style: str
    """``plain``: TorchServe's own, one body; ``v1``; ``v2``."""
    request: InferRequest | None = None
    """Of ``v2``."""
    answers: list[Any] = field(default_factory=list)
    """The handler's, an entry each, once it has run."""

    @property
    def inputs(self) -> Sequence[Any]:
        """No tensors: their size cannot be told."""
        return ()


def rows_of(payload: Any, headers: Mapping[str, str] | None, name: str) -> Rows:
    """The entries of a request.

    Raises:
        InvalidInputError: v1 or v2 without any, base64 that is none, or a form that is none.
    """
    headers = headers or {}
    if isinstance(payload, InferRequest):
        items = _of_tensors(payload, name)
        return Rows(items, [headers] * len(items), "v2", payload)
    if isinstance(payload, dict) and "instances" in payload:
        instances = payload["instances"]
        if not isinstance(instances, list) or not instances:
            raise InvalidInputError(f"Model '{name}': 'instances' must be a list with something in it")
        return Rows([_of_instance(each, at) for at, each in enumerate(instances)], [headers] * len(instances), "v1")
    content_type = headers.get("content-type", "")
    if content_type.lower().startswith(_FORM):
        return Rows([_of_form(payload, content_type)], [headers], "plain")
    if content_type.lower().startswith("text/") and isinstance(payload, bytes):
        payload = _text(payload)
    return Rows([{"body": payload}], [headers], "plain")


def answered(rows: Rows, name: str) -> Any:
    """The response in the style of the request."""
    if rows.style == "plain":
        (answer,) = rows.answers
        return answer
    if rows.style == "v1":
        return {"predictions": [_plain(each) for each in rows.answers]}
    assert rows.request is not None
    return tensors.new_response(name, {"predictions": _array(rows.answers)}, response_id=rows.request.id)


def _of_instance(instance: Any, at: int) -> Any:
    if isinstance(instance, dict):
        if isinstance(encoded := instance.get("b64"), str):
            try:
                return {"data": base64.b64decode(encoded, validate=True)}
            except (binascii.Error, ValueError) as fault:
                raise InvalidInputError(f"Instance {at} is not base64: {fault}") from fault
        if "data" in instance or "body" in instance:
            return instance
    return {"data": instance}


def _of_tensors(request: InferRequest, name: str) -> list[Any]:
    tables: dict[str, list[Any]] = {}
    for tensor in request.inputs:
        if not tensor.shape:
            raise InvalidInputError(f"Model '{name}': input '{tensor.name}' has no axis of rows")
        array = tensor.as_numpy().reshape(tensor.shape)
        tables[tensor.name] = array.tolist()
    lengths = {len(rows) for rows in tables.values()}
    if len(lengths) != 1:
        raise InvalidInputError(f"Model '{name}': its inputs {', '.join(tables)} differ in their first axis")
    if len(tables) == 1:
        return [{"data": row} for row in next(iter(tables.values()))]
    return [{"data": dict(zip(tables, row, strict=True))} for row in zip(*tables.values(), strict=True)]


def _of_form(body: Any, content_type: str) -> dict[str, Any]:
    if not isinstance(body, bytes):
        raise InvalidInputError(f"The body is no {_FORM}")
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    found: dict[str, Any] = {}
    for part in message.iter_parts() if message.is_multipart() else ():
        field_name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(field_name, str) and isinstance(content, bytes):
            found[field_name] = _decoded(content, part.get_content_type() if "content-type" in part else "")
    if not found:
        raise InvalidInputError(f"The body is no {_FORM} with a field in it")
    return found


def _decoded(content: bytes, content_type: str) -> Any:
    if content_type == JSON:
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as fault:
            raise InvalidInputError(f"A field of the form is not JSON: {fault}") from fault
    return _text(content) if content_type.startswith("text/") else content


def _text(content: bytes | bytearray) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as fault:
        raise InvalidInputError("The text is no UTF-8") from fault


def _plain(answer: Any) -> Any:
    return _text(answer) if isinstance(answer, (bytes, bytearray)) else answer


def _array(answers: list[Any]) -> NDArray[Any]:
    """Numbers as a tensor where they are one, else a text in JSON for each."""
    try:
        found = np.array(answers)
    except ValueError:
        found = np.empty(0, dtype=np.object_)
    if found.dtype.kind in "biuf" and len(found) == len(answers):
        return found.astype(datatypes.NUMPY["FP32"]) if found.dtype.kind == "f" else found
    texts = np.empty(len(answers), dtype=np.object_)
    texts[:] = [
        each
        if isinstance(each, (str, bytes))
        else orjson.dumps(each, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS).decode()
        for each in answers
    ]
    return texts
