"""Rules of every resource: names, labels, and that none stands twice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from headrace.manifests.lint.finding import Hit, Joint, Rule
from headrace.manifests.lint.manifest import mapping, text
from headrace.manifests.lint.pods import pod_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.manifests.document import Path
    from headrace.manifests.lint.manifest import Manifest

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?\Z")
_LONGEST_NAME, _LONGEST_LABEL = 253, 63
_SHORT_NAMES = {"Service": 63, "InferenceService": 50, "Namespace": 63}
"""Kinds whose name becomes a part of a host's name. KServe appends -predictor-00001."""
_FREE_NAMES = {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}  # RBAC allows ':' and capitals


def _name(manifest: Manifest) -> Iterator[Hit]:
    name = manifest.metadata.get("name")
    if manifest.kind in ("Kustomization", "") or not manifest.api:
        return
    if name is None and not manifest.metadata.get("generateName"):
        yield Hit(("metadata",), "the resource has no name", "write metadata.name")
    elif isinstance(name, str) and manifest.kind not in _FREE_NAMES and not _SUBDOMAIN.match(name):
        yield Hit(("metadata", "name"), f"{name!r} is no DNS name", "use lower-case letters, digits, '-' and '.'")
    elif isinstance(name, str) and len(name) > (longest := _SHORT_NAMES.get(manifest.kind, _LONGEST_NAME)):
        yield Hit(("metadata", "name"), f"the name has {len(name)} characters, {longest} at most", "shorten it")


def _labels(manifest: Manifest) -> Iterator[Hit]:
    places: tuple[Path, ...] = (
        ("metadata", "labels"),
        ("spec", "template", "metadata", "labels"),
        ("spec", "selector", "matchLabels"),
    )
    for path in places:
        for key, value in mapping(manifest.at(path)).items():
            if isinstance(value, str) and (len(value) > _LONGEST_LABEL or not _LABEL.match(value)):
                why = f"{value!r} cannot be a label's value"
                yield Hit((*path, key), why, "use letters, digits, '-', '_' and '.', 63 at most, or an annotation")


def _selector(manifest: Manifest) -> Iterator[Hit]:
    if not manifest.is_a("apps", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"):
        return
    path: Path = ("spec", "selector", "matchLabels")
    have = pod_labels(manifest)
    for key, value in mapping(manifest.at(path)).items():
        if have.get(key) != value:
            why = f"the pods have {f'{key}={have[key]}' if key in have else f'no label {key}'}"
            yield Hit((*path, key), why, "give selector and template the same label")


def _twice(manifests: Sequence[Manifest]) -> Iterator[tuple[Manifest, Hit]]:
    """The same resource again in one file: the later wins. In several files it may be overlays."""
    first: dict[tuple[str, ...], Manifest] = {}
    for each in manifests:
        key = (each.file, each.group, each.kind, each.namespace, each.name)
        if not each.name or not each.kind:
            continue
        if key in first:
            line = first[key].line_of(())
            yield each, Hit(("metadata", "name"), f"{each.called} stands on line {line} already", "remove one")
        first.setdefault(key, each)


def _config_map(manifest: Manifest) -> Iterator[Hit]:
    if manifest.is_a("", "ConfigMap", "Secret"):
        size = sum(len(text(value)) for part in ("data", "stringData") for value in _values(manifest, part))
        if size > 1 << 20:
            yield Hit(("data",), f"holds {size} bytes; Kubernetes takes 1 MiB", "split it, or mount a volume")


def _values(manifest: Manifest, part: str) -> list[object]:
    return list(mapping(manifest.body.get(part)).values())


RULES = (
    Rule(
        "resource/name",
        "error",
        "A resource has a name that Kubernetes takes; a Service's and an InferenceService's is part of a host name.",
        "Use lower-case letters, digits and '-'.",
        _name,
    ),
    Rule(
        "resource/label",
        "error",
        "A label's value has letters, digits, '-', '_' and '.', 63 at most.",
        "Shorten it, or use an annotation.",
        _labels,
    ),
    Rule(
        "resource/selector",
        "error",
        "A workload's selector matches the labels of its own pods: the API server refuses others.",
        "Give selector and template the same labels.",
        _selector,
    ),
    Rule(
        "resource/size",
        "error",
        "A ConfigMap or Secret is 1 MiB at most.",
        "Split it, or mount a volume.",
        _config_map,
    ),
    Joint(
        "resource/duplicate",
        "error",
        "A resource stands once in a file: applied twice, the later wins without a word.",
        "Remove one of the two.",
        _twice,
    ),
)
