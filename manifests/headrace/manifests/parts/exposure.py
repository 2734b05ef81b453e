"""What callers outside the cluster see: the domain, and what stands in front of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from headrace.manifests.parts import values
from headrace.manifests.parts.part import Bytes, Part
from headrace.manifests.parts.security import Name  # noqa: TC001  # pydantic reads annotations when it runs


class Domain(Part):
    """A public address of the app.

    Without one it can be reached from inside the cluster alone, where `network` or `mesh` is on.
    """

    host: Annotated[str, AfterValidator(values.host)]
    """The host name; its DNS entry must lead to the cluster's gateway."""
    certificate: Literal["knative", "issuer", "secret"] = "knative"
    """Where its certificate comes from. `knative`: Knative asks cert-manager (config-network external-domain-tls:
    Enabled). `issuer`: a cert-manager Certificate of the issuer named. `secret`: the TLS secret named."""
    issuer: Name | None = None
    """Name of the ClusterIssuer."""
    secret: Name | None = None
    """Name of the TLS secret in the app's namespace."""

    @field_validator("issuer", "secret")
    @classmethod
    def _when_asked_for(cls, value: str | None, info: ValidationInfo) -> str | None:
        wanted = info.data.get("certificate") == info.field_name
        if wanted and value is None:
            raise ValueError(f"certificate is {info.field_name}, so {info.field_name} must be named")
        if value is not None and not wanted and "certificate" in info.data:
            raise ValueError(f"write certificate: {info.field_name} as well, or remove the name")
        return value


class Waf(Part):
    """The OWASP core rule set, run by Coraza in the gateway (ModSecurity's rule language)."""

    plugin: Annotated[str, AfterValidator(values.plugin)]
    """Where Istio fetches Coraza's proxy-wasm plugin; pin it by tag or digest."""
    mode: Literal["block", "detect"] = "block"
    """`block` refuses with 403; `detect` only logs, to learn what would be refused."""
    paranoia: Annotated[int, Field(ge=1, le=4)] = 1
    """How strict the rules are; more finds more and refuses more that is harmless."""
    rules: list[Annotated[str, Field(min_length=1)]] = Field([])
    """Further SecLang directives, after the core rules: exclusions, rules of your own."""
    when_it_fails: Literal["open", "closed"] = "open"
    """What happens to requests where the plugin cannot run. `closed` refuses them: for every host of the gateway."""


class Protection(Part):
    """What the gateway lets through to the domain: size, rate, methods and paths. Nothing without `domain`."""

    max_request: Bytes = 16 << 20
    """Bytes of the largest request; a larger one is answered 413. The gateway holds that much a request."""
    rate: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Requests a second through one gateway pod; more are answered 429."""
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """Requests that may come at once after a quiet time, `rate` or more."""
    waf: Waf | None = None
    """A web application firewall as well."""

    @field_validator("burst")
    @classmethod
    def _over_rate(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("rate", 0):
            raise ValueError(f"burst is below rate, which is {info.data['rate']}; raise burst")
        return value
