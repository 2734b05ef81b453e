"""Rules of containers, wherever they run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from headrace.manifests.lint.finding import Hit, Rule, shown
from headrace.manifests.lint.manifest import Manifest, items, mapping, text
from headrace.manifests.lint.pods import pods

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.manifests.document import Path

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(m|[kMGTPE]|[KMGTPE]i)?\Z")
_SIZES = {"m": 1e-3, "": 1.0} | {s: 1000.0**n for n, s in enumerate("kMGTPE", start=1)}
_SIZES |= {f"{s}i": 1024.0**n for n, s in enumerate("KMGTPE", start=1)}
_ACCELERATOR = re.compile(r"(nvidia|amd)\.com/|gpu\.intel\.com/|google\.com/tpu|aws\.amazon\.com/neuron|habana\.ai/")
_SECRET_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL", re.IGNORECASE)
_NO_SECRET = re.compile(
    r"_(FILE|PATH|NAME|URL|URI|ID|DIR|PROVIDER|TYPE|HEADER|LENGTH|LIMIT|TTL|EXPIRY|MODE)\Z", re.IGNORECASE
)
_HARMLESS = re.compile(r"(true|false|[0-9]{1,6}|/.*|\$\(.*\)|\$\{.*\}|)\Z", re.IGNORECASE)


def _containers(manifest: Manifest) -> Iterator[tuple[Path, dict[str, Any]]]:
    for pod in pods(manifest):
        yield from pod.containers()


def _image(manifest: Manifest) -> Iterator[Hit]:
    for path, container in _containers(manifest):
        image = text(container.get("image"))
        if not image or "@sha256:" in image or "$" in image:
            continue
        tag = image.rpartition("/")[2].partition(":")[2]
        if tag in ("", "latest"):
            why = "has no tag, which means latest" if not tag else "latest is another image tomorrow"
            yield Hit((*path, "image"), why)


def _accelerators(manifest: Manifest) -> Iterator[Hit]:
    for path, container in _containers(manifest):
        resources = mapping(container.get("resources"))
        limits, requests = mapping(resources.get("limits")), mapping(resources.get("requests"))
        for part, have in (("limits", limits), ("requests", requests)):
            for name, value in have.items():
                if _ACCELERATOR.match(name) and not re.fullmatch(r"[0-9]+", str(value)):
                    why = f"{shown(value)} of {name}: it is given in whole pieces"
                    yield Hit(
                        (*path, "resources", part, name), why, "write a whole number; share by MIG or time slices"
                    )
        for name, value in requests.items():
            if _ACCELERATOR.match(name) and str(limits.get(name)) != str(value):
                why = f"{name} is requested and has no equal limit: the API server refuses it"
                yield Hit((*path, "resources", "requests", name), why, "write the same under limits")


def _accelerator_memory(manifest: Manifest) -> Iterator[Hit]:
    for path, container in _containers(manifest):
        limits = mapping(mapping(container.get("resources")).get("limits"))
        missing = [name for name in ("memory",) if name not in limits]
        if any(_ACCELERATOR.match(name) for name in limits) and missing:
            yield Hit((*path, "resources", "limits"), "has an accelerator and no limit of memory")


def _over(manifest: Manifest) -> Iterator[Hit]:
    for path, container in _containers(manifest):
        resources = mapping(container.get("resources"))
        limits = mapping(resources.get("limits"))
        for name, value in mapping(resources.get("requests")).items():
            asked, most = _amount(value), _amount(limits.get(name))
            if asked is not None and most is not None and asked > most:
                why = f"{value} is requested, and the limit is {limits[name]}"
                yield Hit((*path, "resources", "requests", name), why)


def _amount(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    match = _QUANTITY.match(str(value))
    return float(match[1]) * _SIZES[match[2] or ""] if match else None


def _quantities(manifest: Manifest) -> Iterator[Hit]:
    for path, container in _containers(manifest):
        for part in ("limits", "requests"):
            for name, value in mapping(mapping(container.get("resources")).get(part)).items():
                place: Path = (*path, "resources", part, name)
                if not isinstance(value, str | int | float) or isinstance(value, bool):
                    continue
                if _amount(value) is None and not re.fullmatch(r"[0-9.]+[eE][+-]?[0-9]+|[0-9]+[nu]", str(value)):
                    yield Hit(place, f"{shown(value)} is no quantity", "write 500m or 2 for cores, 4Gi for bytes")
                elif name in ("memory", "ephemeral-storage") and str(value).endswith("m"):
                    why = f"{value} is thousandths of a byte"
                    yield Hit(place, why, f"write {str(value)[:-1]}Mi")
                elif name == "cpu" and re.search(r"[KMGT]i?\Z", str(value)):
                    yield Hit(place, f"{value} cores is more than any node has", "write 500m or 2")


def _secrets(manifest: Manifest) -> Iterator[Hit]:
    for path, container in _containers(manifest):
        for place, env in items(container, ("env",)):
            name, value = text(env.get("name")), text(env.get("value"))
            if _SECRET_NAME.search(name) and not _NO_SECRET.search(name) and not _HARMLESS.match(value):
                yield Hit((*path, *place), f"{name} looks like a secret, and its value stands in the manifest")


def _env_twice(manifest: Manifest) -> Iterator[Hit]:
    for path, container in _containers(manifest):
        seen: set[str] = set()
        for place, env in items(container, ("env",)):
            name = text(env.get("name"))
            if name in seen:
                yield Hit((*path, *place, "name"), f"{name} is given twice; the last wins", "remove one")
            seen.add(name)
            if "value" in env and "valueFrom" in env:
                yield Hit((*path, *place), f"{name} has value and valueFrom", "keep one of them")


def _mounts(manifest: Manifest) -> Iterator[Hit]:
    for pod in pods(manifest):
        known = {text(volume.get("name")) for _, volume in items(pod.spec, ("volumes",))}
        claims = {
            text(each.get("metadata", {}).get("name")) for _, each in items(manifest.spec, ("volumeClaimTemplates",))
        }
        names: set[str] = set()
        for path, container in pod.containers():
            name = text(container.get("name"))
            if name and name in names:
                yield Hit((*path, "name"), f"two containers are called {name}", "rename one")
            names.add(name)
            seen: set[str] = set()
            for place, mount in items(container, ("volumeMounts",)):
                volume, where = text(mount.get("name")), text(mount.get("mountPath"))
                if volume and volume not in known | claims:
                    yield Hit((*path, *place, "name"), f"there is no volume {volume!r}", "write it under volumes")
                if where and where in seen:
                    yield Hit((*path, *place, "mountPath"), f"{where} is mounted twice", "choose another path")
                seen.add(where)


def _rights(manifest: Manifest) -> Iterator[Hit]:
    for pod in pods(manifest):
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.spec.get(name) is True:
                yield Hit((*pod.path, name), "the pod sees its node's own", "remove it")
        if mapping(pod.spec.get("securityContext")).get("runAsUser") == 0:
            yield Hit((*pod.path, "securityContext", "runAsUser"), "the pod runs as root", "write another number")
        for path, volume in items(pod.spec, ("volumes",)):
            if "hostPath" in volume:
                yield Hit((*pod.path, *path, "hostPath"), "the pod sees its node's files", "use another volume")
        for path, container in pod.containers():
            own = mapping(container.get("securityContext"))
            if own.get("privileged") is True:
                yield Hit(
                    (*path, "securityContext", "privileged"), "the container may do all that its node may", "remove it"
                )
            if own.get("runAsUser") == 0:
                yield Hit((*path, "securityContext", "runAsUser"), "the container runs as root", "write another number")


RULES = (
    Rule(
        "container/image-tag",
        "warning",
        "An image has a tag that stays, or a digest: latest makes tomorrow's pods differ from today's.",
        "Write a version, or a digest.",
        _image,
    ),
    Rule(
        "container/accelerator",
        "error",
        "Accelerators are asked for in whole pieces, as limits.",
        "Write a whole number under limits.",
        _accelerators,
    ),
    Rule(
        "container/accelerator-memory",
        "warning",
        "A container with an accelerator has a limit of memory: one that leaks takes the whole GPU node along.",
        "Write limits.memory.",
        _accelerator_memory,
    ),
    Rule(
        "container/request-over-limit",
        "error",
        "A request is not over its limit: the API server refuses it.",
        "Raise the limit or lower the request.",
        _over,
    ),
    Rule(
        "container/quantity",
        "error",
        "Quantities are what they look like: 512m of memory is half a byte.",
        "Write 500m or 2 for cores, 4Gi for bytes.",
        _quantities,
    ),
    Rule(
        "container/secret-value",
        "warning",
        "A secret is referred to, never written: manifests are read by many, and stay in their history.",
        "Use valueFrom.secretKeyRef.",
        _secrets,
    ),
    Rule(
        "container/variable",
        "error",
        "A variable is given once, by value or by reference.",
        "Remove one.",
        _env_twice,
    ),
    Rule(
        "container/mount",
        "error",
        "Mounts name volumes that are there, each path once, and containers have names of their own.",
        "Write the volume.",
        _mounts,
    ),
    Rule(
        "container/rights",
        "warning",
        "Containers do not run as root, privileged, or with what is their node's.",
        "Remove it.",
        _rights,
    ),
)
