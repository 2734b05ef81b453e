"""Resources that belong to no single app: a namespace, its quota, what a cluster needs once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.manifests.resource import Resource
    from headrace.manifests.spec import InferenceApp

OWNER = "headrace"
"""Their ``app.kubernetes.io/name``: what is pruned or deleted with one app, by its name, leaves them standing."""


def shared_metadata(name: str, component: str, *, namespace: str | None = None) -> Resource:
    """The metadata of a resource that several apps share; cluster-wide where no namespace is given.

    The same for every app, so that it does not matter which of them was rendered first.
    """
    where = {"namespace": namespace} if namespace else {}
    labels = {
        "app.kubernetes.io/name": OWNER,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": OWNER,
        "app.kubernetes.io/managed-by": OWNER,
    }
    return {"name": name, **where, "labels": labels}


def cluster_metadata(app: InferenceApp, name: str, component: str) -> Resource:
    """The metadata of a resource of the app that lives in no namespace."""
    about = shared_metadata(name, component)
    about["labels"] = {**app.metadata.labels, **about["labels"], "app.kubernetes.io/name": app.name}
    return about
