"""What one replica runs on: cores, memory, accelerators, and which nodes have them."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from headrace.manifests import names
from headrace.manifests.parts import values
from headrace.manifests.parts.part import Bytes, Cores, Labels, Part

_DEVICE = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9._]{0,61}[A-Za-z0-9])?\Z")
_TAINT = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9._]{0,61}[A-Za-z0-9])?\Z")


def device(value: str) -> str:
    """An extended resource: ``nvidia.com/gpu``, a MIG slice, a shared GPU, another maker's."""
    if not _DEVICE.match(value) or "kubernetes.io/" in value:
        raise ValueError(
            "write the device plugin's name: nvidia.com/gpu, nvidia.com/mig-1g.10gb, nvidia.com/gpu.shared"
        )
    return value


def taint(value: str) -> str:
    """The key of a node's taint."""
    if not _TAINT.match(value):
        raise ValueError("write the taint's key as the node has it, such as nvidia.com/gpu")
    return value


class Resources(Part):
    """What one replica gets: requested and limited alike, so that its speed does not depend on its neighbours."""

    cpu: Cores = 1.0
    """Cores: 2, 0.5 or 500m."""
    memory: Bytes = 2 << 30
    """Bytes of memory: 4Gi, 512M. A replica over it is killed."""
    gpu: Annotated[int, Field(ge=0, le=64)] = 0
    """GPUs, or slices of them, as `gpuResource` has it; 0 for none."""
    gpu_resource: Annotated[str, AfterValidator(device)] = "nvidia.com/gpu"
    """What is counted: whole GPUs, unless you name a MIG slice (nvidia.com/mig-1g.10gb), a time-sliced GPU
    (nvidia.com/gpu.shared) or another maker's device, as the node's device plugin does."""
    shared_memory: Bytes | None = None
    """Bytes of /dev/shm, which count as memory; 64Mi, the container runtime's own, unless you say. Torch's loader
    processes pass tensors through it."""

    @field_validator("shared_memory")
    @classmethod
    def _within_memory(cls, value: int | None, info: ValidationInfo) -> int | None:
        memory: int | None = info.data.get("memory")
        if value and memory and value >= memory:
            raise ValueError("sharedMemory is a part of memory, and leaves nothing of it; raise memory")
        return value


class Toleration(Part):
    """A taint that does not keep the pods away."""

    key: Annotated[str, AfterValidator(taint)]
    """The taint's key, such as nvidia.com/gpu."""
    value: str | None = None
    """The taint's value; any unless you say."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; any unless you say."""

    @field_validator("value")
    @classmethod
    def _a_label(cls, value: str | None) -> str | None:
        return names.label_value(value) if value else value


class Nodes(Part):
    """Which nodes the pods may run on. Knative must allow each of these (config-features kubernetes.podspec-...)."""

    selector: Labels = Field({})
    """Labels that the node has, such as nvidia.com/gpu.product: NVIDIA-L4."""
    tolerations: list[Toleration] = Field([])
    """Taints of the nodes that do not keep the pods away."""
    runtime_class: Annotated[str, AfterValidator(values.resource_name)] | None = None
    """RuntimeClass of the pods, such as nvidia; the cluster's own unless you say."""
