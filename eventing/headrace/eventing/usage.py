"""Records of usage as CloudEvents, in the form that OpenMeter ingests: subject, type, and numbers in JSON data.

A meter over ``dev.headrace.usage.v1`` that sums ``$.replica_seconds`` by ``$.tenant`` bills every second once.
"""

from __future__ import annotations

from datetime import datetime, timezone
from types import MappingProxyType
from typing import TYPE_CHECKING

import orjson

from headrace.errors import HeadraceError, InvalidInputError
from headrace.eventing.codec.kafka import read_record
from headrace.eventing.event import SPEC_VERSION, CloudEvent
from headrace.eventing.moments import moment_of
from headrace.telemetry.usage.record import Life, Usage
from headrace.telemetry.usage.report import NOBODYS, Told

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headrace.eventing.log import Record

USAGE_TYPE = "dev.headrace.usage.v1"
LIFE_TYPE = "dev.headrace.replica.v1"
DEFAULT_TOPIC = "headrace.usage"
_KINDS: dict[str, type[Usage | Life]] = {USAGE_TYPE: Usage, LIFE_TYPE: Life}


def usage_event(record: Usage | Life, number: str, at: float) -> CloudEvent:
    """The event of a record.

    Args:
        record: What is told.
        number: Unique for its replica: with it a reader drops what comes twice.
        at: When it was told, in seconds of Unix time.
    """
    subject = (record.tenant or NOBODYS) if isinstance(record, Usage) else record.replica
    attributes = {
        "specversion": SPEC_VERSION,
        "id": f"{record.replica}/{number}",
        "source": f"/headrace/{record.namespace}/{record.app}",
        "type": USAGE_TYPE if isinstance(record, Usage) else LIFE_TYPE,
        "subject": subject,
        "time": datetime.fromtimestamp(at, tz=timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        # Of one replica in one partition, in their order.
        "partitionkey": record.replica,
    }
    return CloudEvent(MappingProxyType(attributes), orjson.dumps(record.as_data()))


def read_usage(records: Iterable[Record]) -> Iterator[Told]:
    """The usage in a topic's records, each record once; what is no usage is passed over."""
    seen: set[tuple[str, str]] = set()
    for record in records:
        try:
            event = read_record(record, namespace="", name="")
            told = _told(event)
        except HeadraceError:
            continue
        if told is not None and (event.source, event.id) not in seen:
            seen.add((event.source, event.id))
            yield told


def _told(event: CloudEvent) -> Told | None:
    kind = _KINDS.get(event.type)
    at = moment_of(event.get("time"))
    if kind is None or at is None:
        return None
    try:
        data = orjson.loads(event.data or b"")
    except orjson.JSONDecodeError as fault:
        raise InvalidInputError(f"The data is not JSON: {fault}") from fault
    if not isinstance(data, dict):
        raise InvalidInputError("The data is no object")
    return Told(at, kind.from_data(data))
