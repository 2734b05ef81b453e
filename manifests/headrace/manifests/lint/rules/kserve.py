"""Rules of KServe: what its validator does not look at, and what it refuses only when applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.manifests.faults import nearest
from headrace.manifests.lint.finding import Hit, Rule
from headrace.manifests.lint.manifest import Manifest, items, text, whole
from headrace.manifests.lint.pods import FRAMEWORKS, KSERVE, components, is_knative, pods

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.manifests.document import Path

_MODE = f"{KSERVE}/deploymentMode"
_MODES = ("Knative", "Standard", "ModelMesh")
_ALIASES = {"Serverless": "Knative", "RawDeployment": "Standard"}
_SCHEMES = (
    "s3", "gs", "hf", "modelscope", "pvc", "http", "https", "hdfs", "webhdfs", "oci", "oci+native", "oci+fetch", "file",
    "git",
)  # fmt: skip
_LONGEST_TIMEOUT = 600
"""Seconds: ``max-revision-timeout-seconds`` of Knative as shipped."""


def _mode(manifest: Manifest) -> Iterator[Hit]:
    value = manifest.annotations.get(_MODE)
    if isinstance(value, str) and value not in _MODES and value not in _ALIASES:
        near = nearest(value, (*_MODES, *_ALIASES))
        remedy = f"did you mean {_ALIASES.get(near, near)}?" if near else f"write {', '.join(_MODES)}"
        why = "KServe knows no such mode, says nothing, and takes its default"
        yield Hit(("metadata", "annotations", _MODE), why, remedy)


def _alias(manifest: Manifest) -> Iterator[Hit]:
    value = text(manifest.annotations.get(_MODE))
    if value in _ALIASES:
        why = f"{value} is the old name of {_ALIASES[value]}"
        yield Hit(("metadata", "annotations", _MODE), why, f"write {_ALIASES[value]}")


def _uris(manifest: Manifest) -> Iterator[tuple[Path, str]]:
    for path, part in components(manifest):
        for name in FRAMEWORKS:
            if isinstance(part.get(name), dict) and "storageUri" in part[name]:
                yield (*path, name, "storageUri"), text(part[name]["storageUri"])
        for place, each in items(part, ("storageUris",)):
            yield (*path, *place, "uri"), text(each.get("uri"))
        for place, container in items(part, ("containers",)):
            for inner, env in items(container, ("env",)):
                if env.get("name") == "STORAGE_URI" and "value" in env:
                    yield (*path, *place, *inner, "value"), text(env["value"])
    if manifest.is_a(KSERVE, "LocalModelCache", "LocalModelNamespaceCache") and "sourceModelUri" in manifest.spec:
        yield ("spec", "sourceModelUri"), text(manifest.spec["sourceModelUri"])


def _storage(manifest: Manifest) -> Iterator[Hit]:
    for path, uri in _uris(manifest):
        scheme, found, rest = uri.partition("://")
        if found and scheme not in _SCHEMES:
            near = nearest(scheme, _SCHEMES)
            known = ", ".join(f"{each}://" for each in _SCHEMES[:8])
            remedy = f"did you mean {near}://?" if near else f"write one of {known}, ..."
            yield Hit(path, f"KServe fetches nothing from {scheme}://; its pods would fail when they start", remedy)
        elif not uri.startswith("/") and (not found or not rest):
            yield Hit(path, f"{uri!r} names no place to fetch from", "write a URI such as s3://BUCKET/PATH")


def _most(manifest: Manifest) -> Iterator[Hit]:
    for path, part in components(manifest):
        if part.get("minReplicas") == 0 and not part.get("maxReplicas"):
            why = "maxReplicas is absent: KServe makes 0 of it with minReplicas 0, and Knative reads 0 as no limit"
            yield Hit((*path, "minReplicas"), why, "write maxReplicas")


def _replicas(manifest: Manifest) -> Iterator[Hit]:
    for path, part in components(manifest):
        low, high = whole(part.get("minReplicas")), whole(part.get("maxReplicas"))
        if low is not None and low < 0:
            yield Hit((*path, "minReplicas"), f"{low} replicas cannot be", "write 0 or more")
        if high is not None and high < 0:
            yield Hit((*path, "maxReplicas"), f"{high} replicas cannot be", "write 1 or more")
        if low is not None and high is not None and 0 < high < low:
            yield Hit((*path, "minReplicas"), f"the least, {low}, is over the most, {high}", f"write {high} or less")


def _frameworks(manifest: Manifest) -> Iterator[Hit]:
    for path, part in components(manifest):
        named = [name for name in FRAMEWORKS if name in part]
        if len(named) > 1:
            why = f"{' and '.join(named)} stand together; a predictor is one of them"
            yield Hit((*path, named[1]), why, "keep one")
        if not named and "containers" not in part and "workerSpec" not in part:
            yield Hit(path, "there is neither a model nor containers", "write model: or containers:")


def _timeout(manifest: Manifest) -> Iterator[Hit]:
    for path, part in components(manifest):
        seconds = whole(part.get("timeout"))
        if seconds is not None and is_knative(manifest) and seconds > _LONGEST_TIMEOUT:
            why = f"{seconds} s is over Knative's {_LONGEST_TIMEOUT} s: the service would never become ready"
            yield Hit((*path, "timeout"), why)


def _canary(manifest: Manifest) -> Iterator[Hit]:
    for path, part in components(manifest):
        share = whole(part.get("canaryTrafficPercent"))
        if share is not None and not 0 <= share <= 100:  # noqa: PLR2004  # percent
            yield Hit((*path, "canaryTrafficPercent"), f"{share} is no percentage", "write 0 to 100")


def _standard(manifest: Manifest) -> Iterator[Hit]:
    if not manifest.is_a(KSERVE, "InferenceService") or is_knative(manifest):
        return
    if manifest.annotations.get(_MODE) not in ("Standard", "RawDeployment"):
        return
    keda = manifest.annotations.get(f"{KSERVE}/autoscalerClass") in ("keda", "external")
    for path, part in components(manifest):
        if part.get("minReplicas") == 0 and not keda:
            yield Hit(
                (*path, "minReplicas"), "an HPA does not scale to zero", "use Knative mode, or autoscalerClass: keda"
            )
        if "canaryTrafficPercent" in part:
            why = "Standard mode splits no traffic by it: it has no effect"
            yield Hit((*path, "canaryTrafficPercent"), why, "use spec.canary, or Knative mode")


def _batcher(manifest: Manifest) -> Iterator[Hit]:
    for path, part in components(manifest):
        if "batcher" in part:
            why = "KServe's batcher answers 200 where the predictor says 503, so that a lost event counts as done"
            yield Hit((*path, "batcher"), why)


def _names(manifest: Manifest) -> Iterator[Hit]:
    for pod in pods(manifest) if manifest.is_a(KSERVE, "InferenceService") else ():
        found = [text(each.get("name")) for _, each in pod.containers(init=False)]
        if len(found) > 1 and pod.path[-1] == "predictor" and "kserve-container" not in found:
            if any(name in pod.spec for name in FRAMEWORKS):
                continue
            yield Hit((*pod.path, "containers"), "of several containers none is called kserve-container")


RULES = (
    Rule(
        "kserve/deployment-mode",
        "error",
        "The deployment mode is Knative, Standard or ModelMesh: KServe takes any other word, silently.",
        "Write Knative or Standard.",
        _mode,
    ),
    Rule(
        "kserve/old-mode",
        "warning",
        "Serverless and RawDeployment are old names of Knative and Standard and will go.",
        "Write the new name.",
        _alias,
    ),
    Rule(
        "kserve/storage-uri",
        "error",
        "A storage URI has a scheme that KServe can fetch: no webhook looks, and pods fail when they start.",
        "Write s3://, gs://, hf://, pvc://, oci:// or https://.",
        _storage,
    ),
    Rule(
        "kserve/max-replicas",
        "warning",
        "maxReplicas is written where minReplicas is 0: absent it means no limit, or none at all.",
        "Write maxReplicas.",
        _most,
    ),
    Rule(
        "kserve/replicas",
        "error",
        "minReplicas is not over maxReplicas, and neither is negative.",
        "Lower the one or raise the other.",
        _replicas,
    ),
    Rule(
        "kserve/frameworks",
        "error",
        "A component has one model, or containers.",
        "Keep one.",
        _frameworks,
    ),
    Rule(
        "kserve/timeout",
        "error",
        "In Knative mode a timeout is 600 s at most (max-revision-timeout-seconds): Knative refuses the service later.",
        "Write 600 or less, or raise max-revision-timeout-seconds in config-defaults.",
        _timeout,
    ),
    Rule(
        "kserve/canary",
        "error",
        "canaryTrafficPercent is a percentage.",
        "Write 0 to 100.",
        _canary,
    ),
    Rule(
        "kserve/standard-mode",
        "warning",
        "Scaling to zero and traffic shares are Knative's: Standard mode ignores them.",
        "Use Knative mode.",
        _standard,
    ),
    Rule(
        "kserve/batcher",
        "warning",
        "KServe's batcher (0.21) loses statuses and headers, and mixes up models: events are lost or untraced.",
        "Batch in the model server instead.",
        _batcher,
    ),
    Rule(
        "kserve/container-name",
        "error",
        "Of several containers of a predictor one is kserve-container: requests go to it.",
        "Call the model's container kserve-container.",
        _names,
    ),
)
