"""The paths of KServe's HTTP interface, in the order in which KServe matches them; and two of TorchServe's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_PARAMETER = re.compile(r"\\\{(\w+)\\\}")


@dataclass(frozen=True, slots=True)
class Route:
    """One path that is answered."""

    method: str
    template: str
    action: str
    """What is done there: a word for :class:`headrace.serving.app.ModelApp`."""
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Found:
    """Where a request goes."""

    route: Route
    model: str
    """The model in the path; empty where there is none."""
    version: str = ""
    """The version in the path; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request goes nowhere."""

    allowed: str = ""
    """The method that is answered at this path; empty where nothing is there."""
    elsewhere: str = ""
    """The path that was meant, where only the slash at the end differs."""


def _route(method: str, template: str, action: str) -> Route:
    pattern = _PARAMETER.sub(lambda found: f"(?P<{found[1]}>[^/]+)", re.escape(template))
    return Route(method, template, action, re.compile(rf"{pattern}\Z"))


ROUTES = (
    _route("POST", "/", "events"),
    _route("GET", "/v1/models", "models"),
    _route("GET", "/v1/models/{model}", "model_ready"),
    _route("POST", "/v1/models/{model}:predict", "predict"),
    _route("POST", "/v1/models/{model}:explain", "explain"),
    _route("GET", "/v2", "server"),
    _route("GET", "/v2/models", "models"),
    _route("GET", "/v2/models/{model}", "model_metadata"),
    _route("GET", "/v2/models/{model}/versions/{version}", "model_metadata"),
    _route("GET", "/v2/models/{model}/ready", "model_ready"),
    _route("GET", "/v2/models/{model}/versions/{version}/ready", "model_ready"),
    _route("POST", "/v2/models/{model}/infer", "infer"),
    _route("POST", "/v2/models/{model}/versions/{version}/infer", "infer"),
    _route("POST", "/predictions/{model}", "prediction"),
    _route("GET", "/ping", "ping"),
    _route("POST", "/v2/repository/index", "index"),
    _route("POST", "/v2/repository/models/{model}/load", "load"),
    _route("POST", "/v2/repository/models/{model}/unload", "unload"),
)


@lru_cache(maxsize=1024)
def find(method: str, path: str) -> Found | Refused:
    """The first route that takes this method at this path; else why there is none.

    HEAD is taken where GET is.
    """
    wanted = "GET" if method == "HEAD" else method
    allowed = ""
    for route in ROUTES:
        found = route.pattern.match(path)
        if found is None:
            continue
        if route.method == wanted:
            named = found.groupdict()
            return Found(route, named.get("model", ""), named.get("version", ""))
        allowed = allowed or route.method
    if allowed:
        return Refused(allowed=allowed)
    other = path[:-1] if path.endswith("/") else f"{path}/"
    if path != "/" and any(route.pattern.match(other) for route in ROUTES):
        return Refused(elsewhere=other)
    return Refused()
