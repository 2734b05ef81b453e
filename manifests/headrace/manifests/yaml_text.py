"""Resources to YAML text that PyYAML, Kubernetes and people read alike."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Plain text that no YAML reader, 1.1 or 1.2, takes for a number, a boolean, a date or null. PyYAML's own test misses
# `1e5`, which Kubernetes reads as a number, and `y`, which others read as true.
_PLAIN = re.compile(
    r"(?:--)?[A-Za-z/][A-Za-z0-9/._@+=-]*(?:[:,]+[A-Za-z0-9/._@+=-]+)*\Z|[0-9]+(?:us|ms|[smh]|[KMGTP]i)\Z"
)
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def to_yaml(resources: Iterable[Mapping[str, object]]) -> str:
    """One YAML document a resource, keys in the order given; equal resources give equal text."""
    return "---\n".join(
        yaml.dump(
            dict(each), Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=10_000
        )
        for each in resources
    )


class _Dumper(yaml.SafeDumper):
    """Quotes whatever might be read as something else, writes lines as lines, and never writes an alias."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # PyYAML's signature
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  # PyYAML's signature
        """Indent lists below their key, as Kubernetes' documentation does."""
        super().increase_indent(flow, indentless=False)


def _write_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None
    if "\n" in text:
        style = "|"
    elif not _PLAIN.match(text) or text.lower() in _WORDS:
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _write_text)
