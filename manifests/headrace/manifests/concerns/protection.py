"""What stands at the gateway in front of the domain: size, rate, methods and paths, and a web application firewall.

Each rule is for the domain's host alone; other hosts of the gateway are left as they are. Filters carry the app's name:
an Envoy finds a host's settings by the filter's name, and two apps must not share one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.manifests.concerns import places
from headrace.manifests.concerns.mesh import PATHS
from headrace.manifests.resource import Resource, metadata, resource

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.parts.exposure import Protection, Waf
    from headrace.manifests.spec import InferenceApp

_TYPES = "type.googleapis.com/envoy.extensions.filters"
_PORTS = (80, 443)
_CONTENT = ("application/json", "application/cloudevents+json", "application/cloudevents-batch+json")
# Pixels and tensors look like attacks by chance, and reading them as text costs much.
_UNREAD = (
    'SecRule REQUEST_HEADERS:Content-Type "@rx ^(?:image|audio|video)/|octet-stream" '
    '"id:190001,phase:1,pass,nolog,ctl:requestBodyAccess=Off"'
)


def protection(app: InferenceApp, options: RenderOptions) -> list[Resource]:  # noqa: ARG001  # a concern's signature
    """EnvoyFilter, AuthorizationPolicy and, where a plugin is named, WasmPlugin; nothing without a domain."""
    part = app.spec.protection
    if part is None or app.spec.domain is None:
        return []
    firewall = [_firewall(app, part, part.waf, app.spec.domain.host)] if part.waf else []
    return [_limits(app, part, app.spec.domain.host), _surface(app, app.spec.domain.host), *firewall]


def _limits(app: InferenceApp, part: Protection, host: str) -> Resource:
    rate, size = (f"headrace.{kind}.{app.namespace}.{app.name}" for kind in ("rate", "size"))
    bucket = {"max_tokens": part.burst, "tokens_per_fill": part.rate, "fill_interval": "1s"}
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    limiter = {"@type": f"{_TYPES}.http.local_ratelimit.v3.LocalRateLimit", "stat_prefix": rate}
    buffer = {"max_request_bytes": part.max_request}
    settings = {
        rate: {**limiter, "token_bucket": bucket, "filter_enabled": always, "filter_enforced": always},
        size: {"@type": f"{_TYPES}.http.buffer.v3.BufferPerRoute", "buffer": buffer},
    }
    patches = [
        # Rate first: a flood costs least where it is stopped before anything else looks at it.
        _filter(rate, limiter, "INSERT_FIRST"),
        _filter(size, {"@type": f"{_TYPES}.http.buffer.v3.Buffer", **buffer}, "INSERT_BEFORE"),
        *(_settings(f"{host}:{port}", settings) for port in _PORTS),
    ]
    spec = {"workloadSelector": {"labels": dict(places.GATEWAY)}, "configPatches": patches}
    return resource("networking.istio.io/v1alpha3", "EnvoyFilter", _about(app, "limits"), spec=spec)


def _filter(name: str, config: dict[str, Any], operation: str) -> dict[str, Any]:
    """The filter in the gateway's chain, off except where a host's settings name it."""
    chain = {"filter": {"name": "envoy.filters.network.http_connection_manager"}}
    if operation == "INSERT_BEFORE":
        chain["filter"] |= {"subFilter": {"name": "envoy.filters.http.router"}}  # type: ignore[dict-item]  # nested
    value = {"name": name, "disabled": True, "typed_config": dict(config)}
    return {
        "applyTo": "HTTP_FILTER",
        "match": {"context": "GATEWAY", "listener": {"filterChain": chain}},
        "patch": {"operation": operation, "value": value},
    }


def _settings(virtual_host: str, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "applyTo": "VIRTUAL_HOST",
        "match": {"context": "GATEWAY", "routeConfiguration": {"vhost": {"name": virtual_host}}},
        "patch": {"operation": "MERGE", "value": {"typed_per_filter_config": settings}},
    }


def _surface(app: InferenceApp, host: str) -> Resource:
    """Everything that a model server does not answer is refused before it wakes one."""
    hosts = [host, f"{host}:*"]
    rules = [
        {"to": [{"operation": {"hosts": hosts, "notMethods": ["GET", "HEAD", "OPTIONS", "POST"]}}]},
        {"to": [{"operation": {"hosts": hosts, "notPaths": [*PATHS, places.PROBE, places.CHALLENGE]}}]},
        {
            # A probe says so, and is answered without a model.
            "to": [{"operation": {"hosts": hosts, "paths": [places.PROBE]}}],
            "when": [{"key": "request.headers[K-Network-Probe]", "notValues": ["*"]}],
        },
    ]
    spec = {"selector": {"matchLabels": dict(places.GATEWAY)}, "action": "DENY", "rules": rules}
    return resource("security.istio.io/v1", "AuthorizationPolicy", _about(app, "surface"), spec=spec)


def _firewall(app: InferenceApp, part: Protection, waf: Waf, host: str) -> Resource:
    """Coraza with the core rule set for the host, nothing for others.

    Coraza compares the whole ``Host`` header, port included.
    """
    authorities = [host, *(f"{host}:{port}" for port in _PORTS)]
    config = {
        "directives_map": {app.name: _directives(part, waf), "off": ["SecRuleEngine Off"]},
        "default_directives": "off",
        "per_authority_directives": dict.fromkeys(authorities, app.name),
        "metric_labels": {"app": app.name, "namespace": app.namespace},
    }
    spec = {
        "selector": {"matchLabels": dict(places.GATEWAY)},
        "url": waf.plugin,
        "imagePullPolicy": "IfNotPresent",
        # After the caller is known, before it is asked what the caller may do.
        "phase": "AUTHZ",
        "failStrategy": {"open": "FAIL_OPEN", "closed": "FAIL_CLOSE"}[waf.when_it_fails],
        "pluginConfig": config,
    }
    return resource("extensions.istio.io/v1alpha1", "WasmPlugin", _about(app, "waf"), spec=spec)


def _directives(part: Protection, waf: Waf) -> list[str]:
    types = " ".join(f"|{each}|" for each in (*_CONTENT, "application/octet-stream", "image/jpeg", "image/png"))
    return [
        "Include @recommended-conf",
        f"SecRuleEngine {'On' if waf.mode == 'block' else 'DetectionOnly'}",
        f"SecRequestBodyLimit {part.max_request}",
        "SecResponseBodyAccess Off",
        "Include @crs-setup-conf",
        f'SecAction "id:900000,phase:1,pass,t:none,nolog,setvar:tx.blocking_paranoia_level={waf.paranoia}"',
        # Else each event and each tensor would be refused for its content type.
        f"SecAction \"id:900220,phase:1,pass,t:none,nolog,setvar:'tx.allowed_request_content_type={types}'\"",
        _UNREAD,
        "Include @owasp_crs/*.conf",
        *waf.rules,
    ]


def _about(app: InferenceApp, what: str) -> Resource:
    return metadata(app, f"{app.namespace}-{app.name}-{what}", "protection", namespace=places.ISTIO)
