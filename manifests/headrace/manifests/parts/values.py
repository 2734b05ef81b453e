"""The rules for single values of the parts: each returns the value, or raises ValueError with the remedy."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?\Z")
_HOST = re.compile(r"(?=.{4,253}\Z)([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)+[a-z][-a-z0-9]{0,61}[a-z0-9]\Z")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")
_LONGEST = 253


def resource_name(value: str) -> str:
    """The name of a resource of the cluster (DNS-1123 subdomain)."""
    if not _NAME.match(value) or len(value) > _LONGEST:
        raise ValueError("a resource's name has lower-case letters, digits, '-' and '.', 253 at most")
    return value


def label(value: str) -> str:
    """The value of a label."""
    if not _LABEL.match(value):
        raise ValueError(
            "a label's value has letters, digits, '.', '_' and '-', 63 at most, and none of '._-' at its ends"
        )
    return value


def cidr(value: str) -> str:
    """A range of addresses, written from its first address on."""
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as fault:
        raise ValueError(f"write addresses as 10.1.0.0/16: {fault}") from None


def https(value: str) -> str:
    """An ``https://`` address; keys fetched in the clear could be anybody's."""
    parts = urlsplit(value)
    if parts.scheme != "https" or not parts.hostname or any(each.isspace() for each in value):
        raise ValueError("write an address that begins with https://")
    return value


def endpoint(value: str) -> str:
    """An OTLP/HTTP endpoint, ``http(s)://HOST[:PORT]``."""
    parts = urlsplit(value)
    try:
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine or any(each.isspace() for each in value):
        raise ValueError("write an endpoint as http://HOST:4318")
    return value


def host(value: str) -> str:
    """A host name with a dot in it, lower case: ``pictures.example.com``."""
    if not _HOST.match(value) or value.endswith((".svc", ".cluster.local")):
        raise ValueError("write a public host name in lower case, as pictures.example.com")
    return value


def plugin(value: str) -> str:
    """Where Istio fetches a WebAssembly plugin."""
    parts = urlsplit(value)
    if parts.scheme not in ("oci", "https", "file") or not (parts.netloc or parts.scheme == "file"):
        raise ValueError("write oci://REGISTRY/NAME:TAG, https://... or file:///PATH")
    return value
