"""The public address: claim, mapping and certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.manifests.resource import Resource
    from headrace.manifests.spec import InferenceApp

    MakeApp = Callable[..., InferenceApp]
    Render = Callable[..., list[Resource]]

HOST = "pictures.example.com"


@pytest.mark.parametrize(
    ("spec", "entry"), [({}, "picture-labels-transformer"), ({"transformer": None}, "picture-labels-predictor")]
)
def test_the_domain_leads_to_the_head_of_the_chain(
    plain: MakeApp, resources: Render, spec: dict[str, Any], entry: str
) -> None:
    """To the Knative service that callers reach, in the app's namespace, which claims the name."""
    app = plain(domain={"host": HOST}, **spec)
    (mapping,) = resources(app, "DomainMapping")
    (claim,) = resources(app, "ClusterDomainClaim")
    assert mapping["metadata"]["name"] == claim["metadata"]["name"] == HOST
    assert mapping["spec"]["ref"] == {
        "apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": entry, "namespace": "vision",
    }  # fmt: skip
    assert claim["spec"] == {"namespace": mapping["metadata"]["namespace"]} == {"namespace": "vision"}
    assert "namespace" not in claim["metadata"]
    assert mapping["metadata"]["annotations"]["networking.knative.dev/http-protocol"] == "redirected"


def test_knative_makes_its_own_certificate(plain: MakeApp, resources: Render) -> None:
    """Then there is no secret to name, and the cluster's setting is among those that the app asks for."""
    app = plain(domain={"host": HOST})
    (mapping,) = resources(app, "DomainMapping")
    assert "tls" not in mapping["spec"]
    assert not resources(app, "Certificate")
    (settings,) = resources(app, "ConfigMap")[:1]
    assert "external-domain-tls: Enabled" in settings["data"]["knative-serving.config-network.yaml"]


def test_an_issuers_certificate_lies_where_the_mapping_looks(plain: MakeApp, resources: Render) -> None:
    """cert-manager writes the secret that the mapping reads, for this host."""
    app = plain(domain={"host": HOST, "certificate": "issuer", "issuer": "letsencrypt"})
    (certificate,) = resources(app, "Certificate")
    (mapping,) = resources(app, "DomainMapping")
    assert certificate["spec"]["secretName"] == mapping["spec"]["tls"]["secretName"]
    assert certificate["spec"]["dnsNames"] == [HOST]
    assert certificate["spec"]["issuerRef"]["name"] == "letsencrypt"


def test_a_secret_that_is_there_is_used(plain: MakeApp, resources: Render) -> None:
    """By its name; its content is never in a manifest."""
    app = plain(domain={"host": HOST, "certificate": "secret", "secret": "pictures-tls"})
    (mapping,) = resources(app, "DomainMapping")
    assert mapping["spec"]["tls"] == {"secretName": "pictures-tls"}
    assert not resources(app, "Secret")


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        ({"host": HOST, "certificate": "issuer"}, "issuer must be named"),
        ({"host": HOST, "certificate": "secret"}, "secret must be named"),
        ({"host": HOST, "issuer": "letsencrypt"}, "certificate: issuer"),
        ({"host": "Pictures.example.com"}, "lower case"),
        ({"host": "pictures"}, "public host name"),
        ({"host": "a.b.svc.cluster.local"}, "public host name"),
        ({"host": "https://pictures.example.com"}, "public host name"),
    ],
)
def test_a_wrong_domain_is_refused_with_the_remedy(plain: MakeApp, domain: dict[str, str], said: str) -> None:
    """Before a cluster is asked."""
    with pytest.raises(ValidationError, match=said):
        plain(domain=domain)


@pytest.mark.parametrize("concern", ["network", "mesh"])
def test_an_app_that_is_guarded_has_no_other_address_outside(plain: MakeApp, resources: Render, concern: str) -> None:
    """Knative gives each service a public address unless told otherwise."""
    (service,) = resources(plain(**{concern: {}}), "InferenceService")
    assert service["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"
    (service,) = resources(plain(), "InferenceService")
    assert "networking.knative.dev/visibility" not in service["metadata"]["labels"]
