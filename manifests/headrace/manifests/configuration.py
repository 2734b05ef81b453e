"""Settings and secrets of an app: a ``ConfigMap`` of its own, and ``ExternalSecret`` resources for a vault's."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from headrace.manifests.quantity import format_duration
from headrace.manifests.resource import Resource, metadata, resource

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.parts.configuration import ExternalSecret
    from headrace.manifests.spec import InferenceApp


def configuration(app: InferenceApp, options: RenderOptions) -> list[Resource]:  # noqa: ARG001  # a concern's signature
    """The ConfigMap of ``config``, and an ExternalSecret for each of ``externalSecrets``; never a secret's value."""
    found = [_external(app, each) for each in app.spec.external_secrets]
    if app.spec.config:
        about = metadata(app, config_name(app), "configuration")
        found.append(resource("v1", "ConfigMap", about, data=dict(app.spec.config)))
    return found


def config_name(app: InferenceApp) -> str:
    """The name of the ConfigMap with the app's ``config``."""
    return f"{app.name}-config"


def config_annotations(app: InferenceApp) -> dict[str, str]:
    """A checksum for the pods that read ``config``: they read it when they start, so a change must make new ones."""
    if not app.spec.config:
        return {}
    text = repr(sorted(app.spec.config.items()))
    return {"headrace.dev/config-checksum": hashlib.sha256(text.encode()).hexdigest()}


def _external(app: InferenceApp, secret: ExternalSecret) -> Resource:
    spec = {
        "refreshInterval": format_duration(secret.refresh),
        "secretStoreRef": {"kind": secret.store_kind, "name": secret.store},
        "target": {"name": secret.name, "creationPolicy": "Owner"},
        "data": [{"secretKey": key, "remoteRef": _remote(where)} for key, where in secret.keys.items()],
    }
    about = metadata(app, secret.name, "configuration")
    return resource("external-secrets.io/v1", "ExternalSecret", about, spec=spec)


def _remote(where: str) -> dict[str, str]:
    path, _, part = where.partition("#")
    return {"key": path, **({"property": part} if part else {})}
