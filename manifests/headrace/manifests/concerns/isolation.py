"""The app's namespace, with pod security ``restricted``: whoever is in it sees only what belongs together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.manifests.concerns.additions import PodAdditions
from headrace.manifests.concerns.shared import shared_metadata
from headrace.manifests.resource import Resource, resource

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp


def isolation(app: InferenceApp, options: RenderOptions) -> list[Resource]:  # noqa: ARG001  # a concern's signature
    """The Namespace; none where others share it.

    With a mesh the nodes need Istio's CNI plugin: a sidecar's own init container asks for rights that ``restricted``
    refuses.
    """
    if not owns_namespace(app):
        return []
    about = shared_metadata(app.namespace, "namespace")
    about["labels"] |= {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    if app.spec.mesh:
        about["labels"]["istio-injection"] = "enabled"
    return [resource("v1", "Namespace", about)]


def restricted_additions(app: InferenceApp, options: RenderOptions, role: str) -> PodAdditions:  # noqa: ARG001  # an addition's signature
    """What ``restricted`` asks of each container, in every namespace: others may enforce it in one that is shared.

    On the container, since Knative takes it of a pod by a flag alone. KServe's storage initializer takes it over from
    the container that it fetches for.
    """
    context = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return PodAdditions(container={"securityContext": context})


def owns_namespace(app: InferenceApp) -> bool:
    """Whether the app's namespace is Headrace's to make and to bound."""
    return app.spec.isolation is not None and app.namespace != "default" and not app.namespace.startswith("kube-")
