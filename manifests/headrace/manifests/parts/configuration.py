"""Where containers get settings and secrets from: always by name, never the secret itself."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from headrace.manifests import names
from headrace.manifests.parts import values
from headrace.manifests.parts.part import Duration, Part

_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}\Z")
_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")


def legal_key(value: str) -> str:
    """A key of a Secret or ConfigMap."""
    if not _KEY.match(value) or value in (".", ".."):
        raise ValueError("a key has letters, digits, '-', '_' and '.', 253 at most")
    return value


def legal_prefix(value: str) -> str:
    """What stands before each variable's name."""
    if not _PREFIX.match(value):
        raise ValueError("a prefix has letters, digits and '_', and starts with no digit")
    return value


ResourceName = Annotated[str, AfterValidator(values.resource_name)]
Key = Annotated[str, AfterValidator(legal_key)]
Variable = Annotated[str, AfterValidator(names.variable)]
Environment = dict[Variable, str]


class SecretKey(Part):
    """One value of a Secret in the app's namespace."""

    name: ResourceName
    """The Secret's name."""
    key: Key
    """The key in it."""
    optional: bool = False
    """Start without the variable where Secret or key is missing; wait for it otherwise."""


class Source(Part):
    """All values of a Secret or a ConfigMap in the app's namespace, as variables."""

    config_map: ResourceName | None = None
    """The ConfigMap's name."""
    secret: ResourceName | None = None
    """The Secret's name; write one of `configMap` and `secret`."""
    prefix: Annotated[str, AfterValidator(legal_prefix)] | None = None
    """Stands before each name."""

    @field_validator("secret")
    @classmethod
    def _one_of_two(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "config_map" in info.data and (value is None) == (info.data["config_map"] is None):
            raise ValueError("write one of configMap and secret")
        return value


class ExternalSecret(Part):
    """A Secret that the External Secrets Operator fetches from a vault and keeps fresh."""

    name: ResourceName
    """The Secret's name, as `secrets` and `envFrom` refer to it."""
    store: ResourceName
    """Name of the store to fetch from."""
    store_kind: Literal["SecretStore", "ClusterSecretStore"] = "ClusterSecretStore"
    """Whether the store is the namespace's or the cluster's."""
    refresh: Duration = timedelta(hours=1)
    """Between looks at the vault, 1m to 24h."""
    keys: dict[Key, Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    """Key of the Secret: where its value is in the vault, as PATH or PATH#PROPERTY."""

    @field_validator("refresh")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        return names.within(value, timedelta(minutes=1), timedelta(hours=24))
