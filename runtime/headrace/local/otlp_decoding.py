"""OTLP trace exports -> spans: protobuf, and JSON with its own rules (OTLP 1.x, section "JSON Protobuf Encoding")."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING, Any

import orjson
from google.protobuf import json_format  # type: ignore[import-untyped]  # its stubs are a package of their own
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # as above
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.errors import InvalidInputError
from headrace.local.span import SpanEvent, SpanLink, StoredSpan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
LARGEST_EXPORT = 64 << 20
"""Bytes of one export, decompressed."""
_KINDS = ("internal", "internal", "server", "client", "producer", "consumer")  # by number; 0 is unspecified
_STATUSES = ("unset", "ok", "error")
_IDS = ("traceId", "spanId", "parentSpanId")
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32  # zlib's manual, inflateInit2: detects which


def unpack(body: bytes, encoding: str) -> bytes:
    """The body without its content coding.

    Raises:
        InvalidInputError: the coding is neither gzip nor deflate, the body is not of it, or larger than allowed.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise InvalidInputError(f"content coding '{encoding}' is not known", hint="send gzip or none")
    inflating = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        content = inflating.decompress(body, LARGEST_EXPORT)
    except zlib.error as fault:
        raise InvalidInputError(f"the body is not {encoding}: {fault}") from fault
    if not inflating.eof:
        raise InvalidInputError(f"the {encoding} body is cut off, or more than {LARGEST_EXPORT} bytes unpacked")
    return content


def decode(body: bytes) -> list[StoredSpan]:
    """The spans of an ``ExportTraceServiceRequest`` in protobuf.

    Raises:
        InvalidInputError: the body is none.
    """
    export = ExportTraceServiceRequest()
    try:
        export.ParseFromString(body)
    except DecodeError as fault:
        raise InvalidInputError(f"not an OTLP trace export: {fault}") from fault
    return spans_of(export)


def decode_json(body: bytes) -> list[StoredSpan]:
    """The spans of an ``ExportTraceServiceRequest`` in JSON, whose ids are hexadecimal.

    Raises:
        InvalidInputError: the body is none.
    """
    try:
        document = orjson.loads(body or b"{}")
        for holder in _holders_of_ids(document):
            for name in _IDS:
                if name in holder:
                    holder[name] = base64.b64encode(binascii.unhexlify(holder[name])).decode()
        export = json_format.ParseDict(document, ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (ValueError, TypeError, AttributeError, json_format.ParseError) as fault:
        raise InvalidInputError(f"not an OTLP trace export in JSON: {fault}") from fault
    return spans_of(export)


def spans_of(export: ExportTraceServiceRequest) -> list[StoredSpan]:
    """The spans of an export, each with its resource's ``service.name``; one without ids is left out."""
    return [
        _span(span, str(_attributes(resource.resource.attributes).get("service.name", "unknown_service")))
        for resource in export.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        if span.trace_id and span.span_id
    ]


def _holders_of_ids(document: Any) -> Iterator[dict[str, Any]]:
    for resource in document.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                yield span
                yield from span.get("links", ())


def _span(span: Span, service: str) -> StoredSpan:
    return StoredSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=_KINDS[span.kind] if span.kind < len(_KINDS) else _KINDS[0],
        service=service,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        events=tuple(
            SpanEvent(event.name, event.time_unix_nano, _attributes(event.attributes)) for event in span.events
        ),
        links=tuple(
            SpanLink(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes)) for link in span.links
        ),
        status=_STATUSES[span.status.code] if span.status.code < len(_STATUSES) else _STATUSES[0],
        status_message=span.status.message,
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return None if kind is None else getattr(value, kind)
