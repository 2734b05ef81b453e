"""Where a resource has pods, and what runs in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.manifests.lint.manifest import Manifest, at, items, mapping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.manifests.document import Path

KSERVE = "serving.kserve.io"
KNATIVE = "serving.knative.dev"
FRAMEWORKS = (
    "sklearn", "xgboost", "tensorflow", "pytorch", "triton", "onnx", "huggingface", "pmml", "lightgbm", "paddle",
    "model",
)  # fmt: skip
"""What a predictor of KServe names instead of containers."""
COMPONENTS = ("predictor", "transformer", "explainer")
_TEMPLATES: dict[tuple[str, str], tuple[Path, ...]] = {
    ("", "Pod"): (("spec",),),
    ("", "PodTemplate"): (("template", "spec"),),
    ("batch", "CronJob"): (("spec", "jobTemplate", "spec", "template", "spec"),),
    ("sinks.knative.dev", "JobSink"): (("spec", "job", "spec", "template", "spec"),),
    (KNATIVE, "Revision"): (("spec",),),
    (KSERVE, "InferenceService"): tuple(("spec", name) for name in COMPONENTS),
    (KSERVE, "ServingRuntime"): (("spec",),),
    (KSERVE, "ClusterServingRuntime"): (("spec",),),
}
_TEMPLATED = {
    ("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "DaemonSet"), ("apps", "ReplicaSet"), ("batch", "Job"),
    (KNATIVE, "Service"), (KNATIVE, "Configuration"), ("sources.knative.dev", "ContainerSource"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod's spec inside a resource."""

    manifest: Manifest
    path: Path
    spec: dict[str, Any]

    def containers(self, *, init: bool = True) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Every container with its place; a framework of KServe's is one as well."""
        for key in ("containers", "initContainers") if init else ("containers",):
            for path, each in items(self.spec, (key,)):
                yield (*self.path, *path), each
        for name in FRAMEWORKS if self.manifest.group == KSERVE else ():
            if isinstance(self.spec.get(name), dict):
                yield (*self.path, name), self.spec[name]


def pods(manifest: Manifest) -> Iterator[Pod]:
    """Every pod spec of the resource."""
    key = (manifest.group, manifest.kind)
    paths = (("spec", "template", "spec"),) if key in _TEMPLATED else _TEMPLATES.get(key, ())
    for path in paths:
        spec = at(manifest.body, path)
        if isinstance(spec, dict):
            yield Pod(manifest, path, spec)


def pod_labels(manifest: Manifest) -> dict[str, Any]:
    """The labels of the pods that the resource makes."""
    path: Path = ("metadata", "labels") if manifest.kind == "Pod" else ("spec", "template", "metadata", "labels")
    return mapping(manifest.at(path))


def components(manifest: Manifest) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The components of an InferenceService with their places."""
    if manifest.is_a(KSERVE, "InferenceService"):
        for name in COMPONENTS:
            if isinstance(manifest.spec.get(name), dict):
                yield ("spec", name), manifest.spec[name]


def is_knative(manifest: Manifest) -> bool:
    """Whether its pods are Knative's, with Knative's limits: a service, or an InferenceService in Knative mode.

    An InferenceService that names no mode is taken for one: KServe's configuration says ``Knative`` as shipped.
    """
    if manifest.is_a(KSERVE, "InferenceService"):
        return manifest.annotations.get("serving.kserve.io/deploymentMode", "Knative") in ("Knative", "Serverless")
    return manifest.is_a(KNATIVE, "Service", "Configuration", "Revision")
