"""What the built-in profile ``prod`` turns on."""

from __future__ import annotations

from typing import Any

PROD: dict[str, Any] = {
    "spec": {
        "access": {},
        "network": {},
        "mesh": {},
        # Of use once a `domain` is named, which no profile can know.
        "protection": {},
        "tracing": {},
        "metrics": {},
        "logging": {},
        "rollout": {},
        "disruption": {},
        "isolation": {},
        "quota": {},
    }
}
"""Laid over the app, mapping by mapping: an empty one turns a concern on and leaves what the app says of it."""
