"""What every rendered resource has: type, name, namespace, labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.manifests.spec import InferenceApp

Resource = dict[str, Any]
"""A Kubernetes resource as plain values, ready for YAML or JSON."""


def resource(api_version: str, kind: str, metadata: Resource, **content: object) -> Resource:
    """A resource; ``content`` is ``spec``, ``data`` or whatever its kind has."""
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}


def metadata(app: InferenceApp, name: str, component: str, *, namespace: str | None = None) -> Resource:
    """The metadata of a resource of the app."""
    return {"name": name, "namespace": namespace or app.namespace, "labels": labels(app, component)}


def labels(app: InferenceApp, component: str) -> dict[str, str]:
    """The user's labels and Kubernetes' recommended ones.

    ``-l app.kubernetes.io/name=APP`` selects all of an app, ``...managed-by=headrace`` all that Headrace made.
    """
    return {
        **app.metadata.labels,
        "app.kubernetes.io/name": app.name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "headrace",
        "app.kubernetes.io/managed-by": "headrace",
    }


def environment(variables: dict[str, str]) -> list[dict[str, str]]:
    """A container's ``env``."""
    return [{"name": name, "value": value} for name, value in variables.items()]
