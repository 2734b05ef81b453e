"""What a transformer tells its predictor of the event that it asks for: whose it is, so that it counts once."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode

HEADER = "headrace-usage"
"""Of a request from a transformer to its predictor."""


def written(tenant: str, source: str, event_id: str) -> str:
    """The header's value."""
    return urlencode({"tenant": tenant, "source": source, "id": event_id})


def read(text: str) -> tuple[str, str, str]:
    """Tenant, source and id of the event, of the header's value; empty where it does not say."""
    found = parse_qs(text)
    tenant, source, event_id = (found.get(name, [""])[0] for name in ("tenant", "source", "id"))
    return tenant, source, event_id
