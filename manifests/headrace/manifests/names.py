"""The rules for single names and values of the spec: each returns the value, or raises ValueError with the remedy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from headrace.errors import ModelLoadError
from headrace.manifests.quantity import format_duration
from headrace.models.model_uri import parse_model_uri

if TYPE_CHECKING:
    from datetime import timedelta

TOPIC = re.compile(r"^[a-zA-Z0-9._-]{1,249}$")
LONGEST_TOPIC = 249
LONGEST_APP = 48
"""Characters of an app's name: NAME-transformer and a revision's suffix must stay under DNS's 63."""
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")
_DNS_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
_IDENTIFIER = r"[A-Za-z_]\w*"
_MODULE = re.compile(rf"{_IDENTIFIER}(\.{_IDENTIFIER})*:{_IDENTIFIER}\Z")
_FILE = re.compile(rf"[^:\x00-\x1f]+\.py:{_IDENTIFIER}\Z")
SCHEMES = ("pypi", "file", "s3", "gs", "hf", "https", "http", "pvc", "hdfs", "webhdfs", "oci")
"""Where models may come from: the first two are Headrace's, the others KServe's."""
_VARIABLE = re.compile(rf"{_IDENTIFIER}\Z", re.ASCII)
_IMAGE = re.compile(r"[a-z0-9][a-zA-Z0-9._/:@-]*\Z")
_WORD = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?\Z")
# Knative refuses its own; Headrace writes the others, and two values for one name would leave the winner to chance.
_RESERVED = re.compile(r"(PORT|K_.*|HEADRACE_(APP|NAMESPACE|MODEL_VERSION|WAKE))\Z")


def app(value: str) -> str:
    """A DNS-1035 label of 48 characters at most: Kubernetes names are made from it."""
    if not _DNS_1035.match(value):
        raise ValueError("a name has lower-case letters, digits and '-', starts with a letter and does not end in '-'")
    if len(value) > LONGEST_APP:
        raise ValueError(f"the name has {len(value)} characters; {LONGEST_APP} at most, others are made from it")
    return value


def namespace(value: str) -> str:
    """A DNS-1123 label of 63 characters at most."""
    if not _DNS_1123.match(value) or len(value) > 63:  # noqa: PLR2004  # DNS's own limit
        raise ValueError("a namespace has lower-case letters, digits and '-', 63 at most, and no '-' at its ends")
    return value


def topic(value: str) -> str:
    """A name that Kafka takes for a topic."""
    if not TOPIC.match(value) or value in (".", ".."):
        raise ValueError("a topic's name has letters, digits, '.', '_' and '-', 1 to 249 of them")
    return value


def distinct(value: str | None, other: str | None, what: str, why: str) -> str | None:
    """``value``, which must not be the topic ``other``, nor differ from it in ``.`` and ``_`` alone.

    Kafka makes metric names of topics with ``.`` as ``_``: two such topics collide, and a broker refuses the second.
    """
    if value is None or other is None:
        return value
    if value == other:
        raise ValueError(f"{value!r} is {what}: {why}; name another topic")
    if collide(value, other):
        raise ValueError(f"{value!r} differs from {other!r} ({what}) in '.' and '_' alone, which Kafka refuses")
    return value


def collide(one: str, other: str) -> bool:
    """Whether Kafka takes two different topic names for the same one."""
    return one != other and one.replace(".", "_") == other.replace(".", "_")


def class_path(value: str) -> str:
    """``package.module:Class`` or ``path/to/file.py:Class``."""
    if _MODULE.match(value) or _FILE.match(value):
        return value
    if ":" not in value and "." in value:
        module, _, name = value.rpartition(".")
        raise ValueError(f"write module and class with ':' between them: {module}:{name}")
    raise ValueError("write package.module:Class or path/to/file.py:Class")


def uri(value: str) -> str:
    """Where a model is: a URI of a scheme that Headrace or KServe fetches, or a path."""
    scheme, found, rest = value.partition("://")
    if not value or not value.isprintable():
        raise ValueError("write a URI such as s3://BUCKET/PATH, or a path")
    if found and scheme not in SCHEMES:
        raise ValueError(f"scheme {scheme}:// is unknown; known are {', '.join(f'{each}://' for each in SCHEMES)}")
    if found and (not rest or " " in rest):
        raise ValueError("a URI needs something after ://, and no space")
    try:
        parse_model_uri(value)
    except ModelLoadError as fault:
        raise ValueError(str(fault)) from fault
    return value


def version(value: str) -> str:
    """A word of 63 characters at most, as Kubernetes labels are."""
    if not _WORD.match(value) or len(value) > 63:  # noqa: PLR2004  # the limit of a label's value
        raise ValueError("a version has letters, digits, '.', '_' and '-', 63 at most")
    return value


def group(value: str) -> str:
    """A Kafka consumer group: 1 to 255 characters, none of them a space or a control character."""
    if not re.match(r"[!-~]{1,255}\Z", value):
        raise ValueError("a group's name has 1 to 255 printable ASCII characters and no space")
    return value


def image(value: str) -> str:
    """A container image reference."""
    if not _IMAGE.match(value):
        raise ValueError("write an image as REGISTRY/NAME:TAG")
    return value


def variable(value: str) -> str:
    """The name of an environment variable that the user may set."""
    if not _VARIABLE.match(value):
        raise ValueError("a variable's name has letters, digits and '_', and starts with no digit")
    if _RESERVED.match(value):
        raise ValueError(f"{value} is set by Knative or Headrace; choose another name")
    return value


def profile(value: str) -> str:
    """The name of a profile: a DNS-1123 label, since folders and charts are named by it."""
    if not _DNS_1123.match(value) or len(value) > 63:  # noqa: PLR2004  # DNS's own limit
        raise ValueError("a profile's name has lower-case letters, digits and '-', and no '-' at its ends")
    return value


def label_key(value: str) -> str:
    """A label's key, outside ``app.kubernetes.io/``, which Headrace writes."""
    prefix, slash, name = value.rpartition("/")
    if not _WORD.match(name) or len(name) > 63 or (slash and not _PREFIX.match(prefix)):  # noqa: PLR2004  # Kubernetes
        raise ValueError("a label's key is [PREFIX/]NAME with letters, digits, '.', '_' and '-' in NAME, 63 at most")
    if prefix == "app.kubernetes.io":
        raise ValueError("app.kubernetes.io/ labels are written by Headrace; choose another key")
    return value


def label_value(value: str) -> str:
    """A label's value."""
    return version(value) if value else value


def within(value: timedelta, low: timedelta, high: timedelta) -> timedelta:
    """``value``, which must lie between ``low`` and ``high``, both included."""
    if not low <= value <= high:
        raise ValueError(f"must lie between {format_duration(low)} and {format_duration(high)}")
    return value
