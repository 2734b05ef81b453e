"""Who may do and reach what: service accounts, network, mesh, callers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from headrace.manifests import names
from headrace.manifests.parts import values
from headrace.manifests.parts.part import Part

Name = Annotated[str, AfterValidator(values.resource_name)]


class Subject(Part):
    """Who is given a role: a user, a group or a service account."""

    kind: Literal["User", "Group", "ServiceAccount"] = "Group"
    """What the name names."""
    name: Annotated[str, Field(min_length=1, max_length=253)]
    """The name, as the cluster's authentication knows it."""
    namespace: Annotated[str, AfterValidator(names.namespace)] | None = None
    """Where a ServiceAccount lives; the app's namespace unless you say another."""


class Access(Part):
    """A service account for each part of the app, none with rights in the cluster, and roles for people."""

    storage_secrets: list[Name] = Field([])
    """Names of the secrets with the credentials for the model's store; KServe reads them through the predictor's
    service account."""
    image_pull_secrets: list[Name] = Field([])
    """Names of the secrets with which the images are pulled."""
    deployers: list[Subject] = Field([])
    """Who may apply and delete the app's resources, and no others' kinds. What bounds them (roles, quota, namespace,
    the gateway's rules, what is cluster-wide) they may only read: an administrator deploys the app the first time."""
    viewers: list[Subject] = Field([])
    """Who may look at them and read the logs."""


class Peer(Part):
    """A place outside the app's own paths that the app may reach."""

    cidr: Annotated[str, AfterValidator(values.cidr)]
    """Addresses, as 10.1.0.0/16."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """TCP port."""


class Network(Part):
    """Everything refused but the paths of the flow: Kafka, gateway, chain, DNS, traces, metrics, the model's store."""

    egress: list[Peer] = Field([])
    """Further places that predictor and transformer may reach: a feature store, a database."""


class Jwt(Part):
    """Callers from outside show a token of this issuer."""

    issuer: Annotated[str, AfterValidator(values.https)]
    """The token's `iss`, letter by letter."""
    jwks_uri: Annotated[str, AfterValidator(values.https)] | None = None
    """Where the issuer's keys are; found by OpenID discovery unless you say."""
    audiences: list[Annotated[str, Field(min_length=1)]] = Field([])
    """Accepted `aud` values; the domain's host unless you name some."""


class Mesh(Part):
    """Istio: mutual TLS for every connection, and a list of who may call what.

    Needs Istio's sidecars in Knative's namespace as well.
    """

    jwt: Jwt | None = None
    """Tokens asked of callers at the domain; needs `domain`."""
