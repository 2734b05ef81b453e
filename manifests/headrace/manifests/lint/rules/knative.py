"""Rules of Knative Serving: what its webhook refuses when the service is made, not when the manifest is checked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from headrace.manifests.lint.finding import Hit, Joint, Rule
from headrace.manifests.lint.manifest import Manifest, items, mapping, sequence, text, whole
from headrace.manifests.lint.pods import KNATIVE, Pod, is_knative, pods

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.manifests.document import Path

_FLAGS = {
    "nodeSelector": "nodeselector",
    "tolerations": "tolerations",
    "affinity": "affinity",
    "topologySpreadConstraints": "topologyspreadconstraints",
    "runtimeClassName": "runtimeclassname",
    "priorityClassName": "priorityclassname",
    "schedulerName": "schedulername",
    "initContainers": "init-containers",
    "hostIPC": "hostipc",
    "hostPID": "hostpid",
    "hostNetwork": "hostnetwork",
    "shareProcessNamespace": "shareprocessnamespace",
    "dnsPolicy": "dnspolicy",
    "dnsConfig": "dnsconfig",
    "hostAliases": "hostaliases",
}
"""Fields of a pod that Knative takes only with ``kubernetes.podspec-...`` enabled."""
_VOLUMES = {
    "persistentVolumeClaim": "persistent-volume-claim",
    "hostPath": "volumes-hostpath",
    "csi": "volumes-csi",
    "image": "volumes-image",
    "ephemeral": "volumes-ephemeral",
}
_FREE_VOLUMES = {"name", "configMap", "secret", "projected", "emptyDir"}
_NEVER = (
    "hostname", "subdomain", "restartPolicy", "terminationGracePeriodSeconds", "activeDeadlineSeconds", "nodeName",
    "readinessGates", "overhead", "resourceClaims", "preemptionPolicy", "priority",
)  # fmt: skip
_NEVER_IN_CONTAINER = ("lifecycle", "stdin", "stdinOnce", "tty", "volumeDevices")
_RESERVED = re.compile(r"(PORT|K_SERVICE|K_CONFIGURATION|K_REVISION)\Z")
_LONGEST_TIMEOUT, _MOST_CONCURRENT, _ALL = 600, 1000, 100


def _templates(manifest: Manifest) -> Iterator[Pod]:
    if is_knative(manifest):
        yield from pods(manifest)


def _own(manifest: Manifest) -> Iterator[Pod]:
    return pods(manifest) if manifest.group == KNATIVE else iter(())


def _timeouts(manifest: Manifest) -> Iterator[Hit]:
    for pod in _own(manifest):
        total = whole(pod.spec.get("timeoutSeconds"))
        if total is not None and total > _LONGEST_TIMEOUT:
            yield Hit((*pod.path, "timeoutSeconds"), f"{total} s is over Knative's {_LONGEST_TIMEOUT} s")
        for name in ("responseStartTimeoutSeconds", "idleTimeoutSeconds"):
            part = whole(pod.spec.get(name))
            if part is not None and total is not None and part > total:
                why = f"{part} s is over timeoutSeconds, {total} s"
                yield Hit((*pod.path, name), why, f"write {total} or less")


def _ports(manifest: Manifest) -> Iterator[Hit]:
    for pod in _templates(manifest):
        seen: list[Path] = []
        for path, container in pod.containers(init=False):
            for place, port in items(container, ("ports",)):
                seen.append((*path, *place))
                name = text(port.get("name"))
                if name and not re.fullmatch(r"(h2c|http1)(-.*)?", name) and manifest.group == KNATIVE:
                    why = f"Knative knows no port called {name!r}"
                    yield Hit((*path, *place, "name"), why, "call it h2c for HTTP/2 and gRPC, http1 otherwise")
        for place in seen[1:]:
            yield Hit(place, "a second port: Knative sends requests to one, and refuses more", "keep one port")


def _unsupported(manifest: Manifest) -> Iterator[Hit]:
    for pod in _templates(manifest):
        for name in _NEVER:
            if name in pod.spec:
                yield Hit((*pod.path, name), f"Knative refuses {name} in its pods")
        for path, container in pod.containers():
            for name in _NEVER_IN_CONTAINER:
                if name in container:
                    yield Hit((*path, name), f"Knative refuses {name} in a container")
            if mapping(container.get("resources")).get("claims"):
                why = "Knative drops resource claims: dynamic resource allocation does not work with it"
                yield Hit((*path, "resources", "claims"), why, "use limits, such as nvidia.com/gpu")


def _needed(pod: Pod) -> Iterator[tuple[Path, str, str]]:
    """Place, field and flag of everything that needs a feature flag."""
    for name, flag in _FLAGS.items():
        if name in pod.spec:
            yield (*pod.path, name), name, f"kubernetes.podspec-{flag}"
    if mapping(pod.spec.get("securityContext")):
        yield (*pod.path, "securityContext"), "securityContext", "kubernetes.podspec-securitycontext"
    for path, volume in items(pod.spec, ("volumes",)):
        for name, flag in _VOLUMES.items():
            if name in volume:
                yield (*pod.path, *path, name), f"a volume of {name}", f"kubernetes.podspec-{flag}"
    for path, container in pod.containers():
        if sequence(mapping(mapping(container.get("securityContext")).get("capabilities")).get("add")):
            place = (*path, "securityContext", "capabilities", "add")
            yield place, "an added capability", "kubernetes.containerspec-addcapabilities"


def _flags(manifests: Sequence[Manifest]) -> Iterator[tuple[Manifest, Hit]]:
    """Flags that no ConfigMap among the manifests turns on: Knative's own, or one with patches for it."""
    settings = "".join(str(each.body.get("data")) for each in manifests if each.is_a("", "ConfigMap"))
    for manifest in manifests:
        for pod in _templates(manifest):
            for path, what, flag in _needed(pod):
                if flag not in settings:
                    why = f"Knative takes {what} only where {flag} is enabled"
                    yield manifest, Hit(path, why, f"set {flag}: enabled in config-features of knative-serving")


def _volume_types(manifest: Manifest) -> Iterator[Hit]:
    for pod in _templates(manifest):
        for path, volume in items(pod.spec, ("volumes",)):
            for name in volume:
                if name not in _FREE_VOLUMES and name not in _VOLUMES:
                    why = f"Knative takes no volume of {name}"
                    yield Hit((*pod.path, *path, name), why, "use a configMap, secret, projected, emptyDir or claim")


def _variables(manifest: Manifest) -> Iterator[Hit]:
    for pod in _templates(manifest):
        for path, container in pod.containers():
            for place, env in items(container, ("env",)):
                if _RESERVED.match(text(env.get("name"))):
                    yield Hit((*path, *place, "name"), f"{env['name']} is Knative's own: it refuses another")


def _concurrency(manifest: Manifest) -> Iterator[Hit]:
    for pod in _templates(manifest):
        limit = whole(pod.spec.get("containerConcurrency"))
        if limit is not None and not 0 <= limit <= _MOST_CONCURRENT:
            why = f"{limit} does not lie between 0 (no limit) and {_MOST_CONCURRENT}"
            yield Hit((*pod.path, "containerConcurrency"), why)


def _traffic(manifest: Manifest) -> Iterator[Hit]:
    if not manifest.is_a(KNATIVE, "Service", "Route"):
        return
    targets = list(items(manifest.spec, ("traffic",)))
    shares = [whole(each.get("percent")) for _, each in targets]
    total = sum(share for share in shares if share is not None)
    if targets and total != _ALL:
        yield Hit(("spec", "traffic"), f"the percentages add up to {total}", "make them add up to 100")
    tags: set[str] = set()
    for path, each in targets:
        place: Path = ("spec", *path)
        if each.get("latestRevision") is True and each.get("revisionName"):
            yield Hit((*place, "revisionName"), "latestRevision and a name stand together", "keep one of the two")
        tag = text(each.get("tag"))
        if tag and tag in tags:
            yield Hit((*place, "tag"), f"tag {tag} is given twice", "choose another")
        tags.add(tag)


def _target_over_limit(manifest: Manifest) -> Iterator[Hit]:
    """A target over the hard limit is cut to it: what was written is not what happens."""
    key = "autoscaling.knative.dev/target"
    have: dict[str, Any] = mapping(manifest.at(("spec", "template", "metadata", "annotations")))
    for pod in _own(manifest):
        limit = whole(pod.spec.get("containerConcurrency"))
        target = text(have.get(key))
        if limit and re.fullmatch(r"[0-9]+(\.[0-9]+)?", target) and float(target) > limit:
            path: Path = ("spec", "template", "metadata", "annotations", key)
            yield Hit(path, f"the target, {target}, is over containerConcurrency, {limit}", f"write {limit} or less")


RULES = (
    Rule(
        "knative/timeout",
        "error",
        "A request's time is 600 s at most (max-revision-timeout-seconds), and its parts lie within it.",
        "Write 600 or less, or raise max-revision-timeout-seconds in config-defaults.",
        _timeouts,
    ),
    Rule(
        "knative/ports",
        "error",
        "One container has one port, called h2c or http1 where it has a name.",
        "Keep one port.",
        _ports,
    ),
    Rule(
        "knative/unsupported-field",
        "error",
        "Pods of Knative's have only the fields that it supports; an InferenceService's schema allows more.",
        "Remove it.",
        _unsupported,
    ),
    Joint(
        "knative/feature-flag",
        "warning",
        "Fields of GPU nodes, volumes and others work only with a feature flag that is off as shipped.",
        "Enable the flag in config-features; a ConfigMap with it among the manifests silences this.",
        _flags,
    ),
    Rule(
        "knative/volume",
        "error",
        "A volume is of a kind that Knative takes at all.",
        "Use a configMap, secret, projected, emptyDir or claim.",
        _volume_types,
    ),
    Rule(
        "knative/reserved-variable",
        "error",
        "PORT and K_... are set by Knative, which refuses a container that sets them.",
        "Choose another name.",
        _variables,
    ),
    Rule(
        "knative/container-concurrency",
        "error",
        "containerConcurrency lies between 0 (no limit) and 1000.",
        "Write 0 to 1000.",
        _concurrency,
    ),
    Rule(
        "knative/traffic",
        "error",
        "Traffic adds up to 100 percent, tags are given once, and a target is the latest revision or a named one.",
        "Make the percentages add up to 100.",
        _traffic,
    ),
    Rule(
        "knative/target-over-limit",
        "warning",
        "The autoscaler's target is not over the hard limit, to which Knative cuts it.",
        "Lower the target or raise the limit.",
        _target_over_limit,
    ),
)
