"""Names of attributes are those of OpenTelemetry's semantic conventions, as its package has them today."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import headrace.telemetry.tracing

ROOT = Path(headrace.telemetry.tracing.__file__).parents[3]
ROOMS = ("eventing", "transformers", "predictors", "runtime/headrace/serving", "runtime/headrace/telemetry")
NAMED = re.compile(r'"((?:messaging|cloudevents|rpc|http|url|server|user_agent|error|network)\.[a-z_.]+)"')
DEFINED = re.compile(r'^[A-Z_]+: Final = "([a-z0-9_.]+)"(?:\n"""(.*?)""")?', re.MULTILINE | re.DOTALL)


def conventions() -> dict[str, str]:
    """What the package says of each attribute, by its name."""
    found: dict[str, str] = {}
    for package in ("opentelemetry.semconv._incubating.attributes", "opentelemetry.semconv.attributes"):
        for file in resources.files(package).iterdir():
            if file.name.endswith(".py"):
                found |= dict(DEFINED.findall(file.read_text()))
    return found


def test_every_name_is_defined_and_none_is_deprecated() -> None:
    """An attribute in a namespace of the conventions is one of theirs."""
    known = conventions()
    used = {
        name: path.name
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for name in NAMED.findall(path.read_text())
    }
    assert {"messaging.kafka.offset", "rpc.method", "http.route", "cloudevents.event_id"} <= used.keys()
    # Ours: what failed in words, on span events alone.
    unknown = {name: where for name, where in used.items() if name not in known and name != "error.message"}
    assert unknown == {}
    deprecated = {name for name in used if known.get(name, "").strip().startswith("Deprecated")}
    assert deprecated <= {"error.message"}
