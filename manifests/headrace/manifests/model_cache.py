"""The model on the nodes' own disks: KServe's ``LocalModelCache``."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from headrace.manifests.concerns.shared import cluster_metadata
from headrace.manifests.quantity import format_bytes
from headrace.manifests.resource import Resource, resource
from headrace.models.model_uri import store_place

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp


def model_cache(app: InferenceApp, options: RenderOptions) -> list[Resource]:  # noqa: ARG001  # a concern's signature
    """The cache of the predictor's model; KServe finds it by the model's URI.

    The URI of a cache can never be changed, so its hash is in the name: another model gets a cache of its own.
    """
    predictor = app.spec.predictor
    if predictor.cache is None or predictor.model is None:
        return []
    source = store_place(predictor.model)  # the checksum is looked at where the model is loaded
    mark = hashlib.sha256(source.encode()).hexdigest()[:8]
    spec: dict[str, Any] = {
        "sourceModelUri": source,
        "modelSize": format_bytes(predictor.cache.size),
        "nodeGroups": list(predictor.cache.node_groups),
    }
    if predictor.cache.service_account:
        spec["serviceAccountName"] = predictor.cache.service_account
    about = cluster_metadata(app, f"{app.namespace}-{app.name}-{mark}", "model-cache")
    return [resource("serving.kserve.io/v1alpha1", "LocalModelCache", about, spec=spec)]
