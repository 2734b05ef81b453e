"""The app's public address: Knative's ``DomainMapping``, the claim on the name, and its certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.manifests.concerns.places import entry_role
from headrace.manifests.concerns.shared import cluster_metadata
from headrace.manifests.resource import Resource, metadata, resource

if TYPE_CHECKING:
    from headrace.manifests.options import RenderOptions
    from headrace.manifests.spec import InferenceApp

CLUSTER_LOCAL = {"networking.knative.dev/visibility": "cluster-local"}
"""Label of an InferenceService without an address of its own outside the cluster."""


def domain(app: InferenceApp, options: RenderOptions) -> list[Resource]:  # noqa: ARG001  # a concern's signature
    """ClusterDomainClaim, Certificate where an issuer is named, and DomainMapping to the service that callers reach."""
    part = app.spec.domain
    if part is None:
        return []
    claim = resource(
        "networking.internal.knative.dev/v1alpha1",
        "ClusterDomainClaim",
        cluster_metadata(app, part.host, "domain"),
        spec={"namespace": app.namespace},
    )
    return [claim, *_certificate(app), _mapping(app)]


def _certificate(app: InferenceApp) -> list[Resource]:
    part = app.spec.domain
    assert part is not None
    if part.certificate != "issuer":
        return []
    name = _secret(app)
    spec = {
        "secretName": name,
        # Knative's ingress reads only secrets with this label where it is told to keep its cache small.
        "secretTemplate": {"labels": {"networking.internal.knative.dev/certificate-uid": app.name}},
        "dnsNames": [part.host],
        "usages": ["digital signature", "key encipherment", "server auth"],
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
        "issuerRef": {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": part.issuer},
    }
    return [resource("cert-manager.io/v1", "Certificate", metadata(app, f"{app.name}-domain", "domain"), spec=spec)]


def _mapping(app: InferenceApp) -> Resource:
    part = app.spec.domain
    assert part is not None
    about = metadata(app, part.host, "domain")
    about["annotations"] = {"networking.knative.dev/http-protocol": "redirected"}
    # To the Knative service: a mapping must lead to NAME.NAMESPACE.svc, which KServe's own address is not.
    ref = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": f"{app.name}-{entry_role(app)}"}
    spec: dict[str, Any] = {"ref": {**ref, "namespace": app.namespace}}
    if name := _secret(app):
        spec["tls"] = {"secretName": name}
    return resource("serving.knative.dev/v1beta1", "DomainMapping", about, spec=spec)


def _secret(app: InferenceApp) -> str | None:
    """The TLS secret; None where Knative makes its own."""
    part = app.spec.domain
    assert part is not None
    return f"{app.name}-domain-tls" if part.certificate == "issuer" else part.secret
