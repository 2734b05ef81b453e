"""Whose events they are: what the usage of an app is told by."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo, field_validator

from headrace.manifests.parts.part import Part

_ATTRIBUTE = re.compile(r"[a-z0-9]{1,20}\Z")
_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,100}\Z")


def _attribute(name: str) -> str:
    if not _ATTRIBUTE.match(name):
        raise ValueError("an attribute of a CloudEvent has up to 20 of a-z and 0-9")
    return name


def _header(name: str) -> str:
    if not _HEADER.match(name.lower()):
        raise ValueError("write the name of an HTTP header, such as x-api-key")
    return name.lower()


class Tenant(Part):
    """Where the tenant of an event stands; events that name none are of `anonymous`."""

    attribute: Annotated[str, AfterValidator(_attribute)] | None = None
    """Attribute of the event; `tenant` where nothing else is said."""
    header: Annotated[str, AfterValidator(_header)] | None = None
    """HTTP header of the request, for callers beside events."""
    api_key: Annotated[str, AfterValidator(_header)] | None = None
    """HTTP header with an API key, such as `authorization`. The tenant is a fingerprint of the key, never the key."""

    @field_validator("api_key")
    @classmethod
    def _one(cls, value: str | None, info: ValidationInfo) -> str | None:
        if sum(bool(each) for each in (*info.data.values(), value)) > 1:
            raise ValueError("a tenant stands in one place; keep one of attribute, header, apiKey")
        return value

    @property
    def rule(self) -> str:
        """As the server's variable has it."""
        if self.header:
            return f"header:{self.header}"
        return f"apiKey:{self.api_key}" if self.api_key else f"attribute:{self.attribute or 'tenant'}"


class Metering(Part):
    """What is told of usage, whatever the topic."""

    tenant: Tenant = Tenant()
    """Where the tenant of an event stands."""
