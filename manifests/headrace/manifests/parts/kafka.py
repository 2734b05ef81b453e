"""How the app proves to Kafka who it is."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationInfo, field_validator

from headrace.manifests.parts.configuration import ResourceName  # noqa: TC001  # pydantic reads annotations when it runs
from headrace.manifests.parts.part import Part


class KafkaAccess(Part):
    """The client settings for a Kafka that asks who calls. The values stay in a Secret of the app's namespace."""

    secret: ResourceName
    """The Secret, with Knative's keys: protocol, sasl.mechanism, user, password, ca.crt, user.crt, user.key; each
    where `authentication` needs it. One Secret does for dispatcher, Knative and KEDA."""
    authentication: Literal["scram-sha-512", "scram-sha-256", "plain", "tls", "none"] = "scram-sha-512"
    """How the client proves who it is: user and password in one of three ways, a client certificate (`tls`), or not
    at all. Must agree with sasl.mechanism in the Secret."""
    encryption: bool = True
    """Whether connections are encrypted; ca.crt, where it is in the Secret, is whom the client trusts."""
    user: bool = False
    """Render Strimzi's KafkaUser with the least rights that the app needs. Strimzi writes its password or certificate
    into a Secret beside Kafka; bringing that into the app's namespace is yours (`externalSecrets` can)."""

    @field_validator("encryption")
    @classmethod
    def _certificates_need_it(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001  # pydantic's signature
        if not value and info.data.get("authentication") == "tls":
            raise ValueError("a client certificate needs encryption; write encryption: true")
        return value

    @field_validator("user")
    @classmethod
    def _strimzi_can(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001  # pydantic's signature
        if value and info.data.get("authentication") not in ("scram-sha-512", "tls", None):
            raise ValueError("Strimzi makes users for scram-sha-512 and tls alone; choose one of them")
        return value
