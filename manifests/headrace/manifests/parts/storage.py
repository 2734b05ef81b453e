"""How the model's files come to the node."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from headrace.manifests.parts.configuration import ResourceName  # noqa: TC001  # pydantic reads annotations when it runs
from headrace.manifests.parts.part import Bytes, Part

CACHED = ("s3://", "gs://", "hf://", "http://", "https://")
"""What KServe can keep on nodes: a volume is there already, an image is kept by the node itself."""


class ModelCache(Part):
    """The model kept on the nodes' own disks (KServe's LocalModelCache), so that a cold start fetches nothing.

    Needs KServe's local model controller, and node groups that an administrator has made.
    """

    size: Bytes
    """Room that the model takes: 500Mi, 20Gi."""
    node_groups: list[ResourceName] = Field(min_length=1)
    """KServe's LocalModelNodeGroups whose nodes keep it."""
    service_account: Annotated[ResourceName, Field(examples=["model-reader"])] | None = None
    """ServiceAccount with which it is fetched; the cluster's own credentials unless you say."""
