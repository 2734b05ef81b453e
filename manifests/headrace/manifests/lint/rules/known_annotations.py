"""Rules of annotations: no webhook sees a misspelt one, and it has no effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.manifests.faults import nearest
from headrace.manifests.lint.annotation_values import KNOWN, VALUES
from headrace.manifests.lint.finding import Hit, Rule, shown
from headrace.manifests.lint.manifest import mapping, text
from headrace.manifests.lint.pods import KNATIVE, KSERVE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.manifests.document import Path
    from headrace.manifests.lint.manifest import Manifest

_PLACES: tuple[Path, ...] = (
    ("metadata", "annotations"),
    ("spec", "template", "metadata", "annotations"),
    ("spec", "predictor", "annotations"),
    ("spec", "transformer", "annotations"),
    ("spec", "explainer", "annotations"),
)
_GROUPS = tuple(sorted(KNOWN))
_MADE = {"creator", "lastModifier", "forceUpgrade", "routes", "routingStateModified", "observed-generation"}
"""Written by Knative itself, and so in what ``kubectl get -o yaml`` prints."""


def _annotations(manifest: Manifest) -> Iterator[tuple[Path, str, object]]:
    for place in _PLACES:
        for key, value in mapping(manifest.at(place)).items():
            if isinstance(key, str):
                yield (*place, key), key, value


def _misspelt(manifest: Manifest) -> Iterator[Hit]:
    for path, key, _ in _annotations(manifest):
        group, slash, name = key.rpartition("/")
        if not slash:
            continue
        if group in KNOWN:
            if name not in KNOWN[group] and (near := nearest(name, KNOWN[group])):
                yield Hit(path, f"{group} knows no {name!r}: it has no effect", f"did you mean {group}/{near}?")
        elif ("kn" in group or "kserve" in group) and (near := _near_group(group)):
            yield Hit(path, f"{group} is no known group: it has no effect", f"did you mean {near}/{name}?")


def _near_group(group: str) -> str:
    """A known group that differs by a slip; groups of others differ by more."""
    near = nearest(group, _GROUPS)
    same_end = near.rpartition(".")[2] == group.rpartition(".")[2]
    return near if near and abs(len(near) - len(group)) <= 1 and same_end else ""


def _unknown(manifest: Manifest) -> Iterator[Hit]:
    for path, key, _ in _annotations(manifest):
        group, _, name = key.rpartition("/")
        known = KNOWN.get(group)
        if known is not None and name not in known and name not in _MADE and not nearest(name, known):
            yield Hit(path, f"{group} has no annotation {name!r} that this version knows")


def _value(manifest: Manifest) -> Iterator[Hit]:
    for path, key, value in _annotations(manifest):
        check = VALUES.get(key)
        if check is None or not isinstance(value, str):
            continue  # what is not text is told by its schema
        if why := check(value):
            yield Hit(path, f"{shown(value)}: {why}")


def _place(manifest: Manifest) -> Iterator[Hit]:
    """Knative reads autoscaling annotations of the template, and refuses them on the service."""
    if manifest.is_a(KNATIVE, "Service", "Configuration"):
        for key in manifest.annotations:
            if text(key).startswith(("autoscaling.knative.dev/", "queue.sidecar.serving.knative.dev/")):
                yield Hit(("metadata", "annotations", key), "Knative reads it on the template alone")
    if manifest.is_a("apps", "Deployment", "StatefulSet"):
        for path, key, _ in _annotations(manifest):
            if key.startswith("autoscaling.knative.dev/"):
                yield Hit(path, f"a {manifest.kind} is not scaled by Knative: it has no effect", "use KEDA or an HPA")
    for component in ("predictor", "transformer", "explainer"):
        for key in mapping(manifest.at(("spec", component, "annotations"))):
            if manifest.kind == "InferenceService" and key == f"{KSERVE}/deploymentMode":
                where: Path = ("spec", component, "annotations", key)
                yield Hit(
                    where, "KServe reads the mode on the InferenceService alone", "write it in metadata.annotations"
                )


def _bounds(manifest: Manifest) -> Iterator[Hit]:
    for place in _PLACES:
        have = mapping(manifest.at(place))
        for group in ("autoscaling.knative.dev", "autoscaling.eventing.knative.dev"):
            for low_name, high_name in (("min-scale", "max-scale"), ("minScale", "maxScale")):
                low, high = (_count(have.get(f"{group}/{name}")) for name in (low_name, high_name))
                if low is not None and high and low > high:
                    why = f"the least, {low}, is over the most, {high}"
                    yield Hit((*place, f"{group}/{low_name}"), why, f"write {high} or less")


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, str) and value.isdecimal() else None


RULES = (
    Rule(
        "annotation/misspelt",
        "error",
        "An annotation in a group of Knative's or KServe's is one that it knows: others are accepted and ignored.",
        "Write the name as documented.",
        _misspelt,
    ),
    Rule(
        "annotation/unknown",
        "warning",
        "An annotation in a group of Knative's or KServe's that is near to none of theirs has probably no effect.",
        "Remove it, or put it into a group of your own.",
        _unknown,
    ),
    Rule(
        "annotation/value",
        "error",
        "The value of a known annotation is one that its controller reads: some are refused late, others never.",
        "Write a value that the controller reads.",
        _value,
    ),
    Rule(
        "annotation/place",
        "error",
        "An annotation stands where its controller looks for it.",
        "Write it in spec.template.metadata.annotations.",
        _place,
    ),
    Rule(
        "annotation/scale-bounds",
        "error",
        "min-scale is not over max-scale.",
        "Lower the one or raise the other.",
        _bounds,
    ),
)
