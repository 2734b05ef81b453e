"""The Pod Security Standard ``restricted``, in the namespaces that enforce it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.manifests.lint.finding import Hit, Joint
from headrace.manifests.lint.manifest import items, mapping, sequence
from headrace.manifests.lint.pods import pods

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.manifests.lint.manifest import Manifest
    from headrace.manifests.lint.pods import Pod

ENFORCE = "pod-security.kubernetes.io/enforce"
_VOLUMES = {
    "name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
    "image",
}  # fmt: skip
_SECCOMP = ("RuntimeDefault", "Localhost")
_MAY_ADD = {"NET_BIND_SERVICE"}


def restricted_faults(pod: Pod) -> Iterator[Hit]:
    """What the standard does not allow in a pod (Kubernetes, Pod Security Standards, *Restricted*)."""
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(name):
            yield Hit((*pod.path, name), "is not allowed", "remove it")
    for path, volume in items(pod.spec, ("volumes",)):
        for name in volume.keys() - _VOLUMES:
            yield Hit((*pod.path, *path, name), f"a volume of {name} is not allowed", "use another")
    whole = mapping(pod.spec.get("securityContext"))
    for path, container in pod.containers():
        own = mapping(container.get("securityContext"))
        for why, remedy in (*_rights(own), *_user({**whole, **own})):
            yield Hit((*path, "securityContext"), why, remedy)


def _rights(own: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if own.get("allowPrivilegeEscalation") is not False:
        yield "may gain rights", "write allowPrivilegeEscalation: false"
    if own.get("privileged"):
        yield "is privileged", "remove it"
    capabilities = mapping(own.get("capabilities"))
    if "ALL" not in sequence(capabilities.get("drop")):
        yield "keeps capabilities", "write capabilities.drop: [ALL]"
    if extra := {str(each) for each in sequence(capabilities.get("add"))} - _MAY_ADD:
        yield f"adds {', '.join(sorted(extra))}", "remove it"


def _user(context: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Of the container's context laid over the pod's."""
    if context.get("runAsNonRoot") is not True:
        yield "may run as root", "write runAsNonRoot: true"
    if context.get("runAsUser") == 0:
        yield "runs as root", "write another runAsUser"
    if mapping(context.get("seccompProfile")).get("type") not in _SECCOMP:
        yield "has no seccomp profile", "write seccompProfile.type: RuntimeDefault"


def _restricted(manifests: Sequence[Manifest]) -> Iterator[tuple[Manifest, Hit]]:
    enforced = {
        each.name for each in manifests if each.kind == "Namespace" and each.labels.get(ENFORCE) == "restricted"
    }
    for each in manifests:
        if each.namespace in enforced:
            for pod in pods(each):
                for hit in restricted_faults(pod):
                    why = f"{hit.why}: namespace {each.namespace} enforces restricted, and refuses the pod"
                    yield each, Hit(hit.path, why, hit.remedy)


RULES = (
    Joint(
        "pod-security/restricted",
        "error",
        "In a namespace that enforces `restricted` every pod keeps to it: the workload is made, its pods never are.",
        "Write the security context that the standard asks for.",
        _restricted,
    ),
)
