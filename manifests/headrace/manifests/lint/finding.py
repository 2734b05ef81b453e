"""What a rule says, and what a reader gets to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from headrace.manifests.document import Path
    from headrace.manifests.lint.manifest import Manifest

Severity = Literal["error", "warning"]
"""An error does not work, or not as written; a warning works and will be regretted."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One place that breaks a rule."""

    path: Path
    why: str
    remedy: str = ""
    """What to do here; empty where the rule's own remedy says it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of one manifest."""

    id: str
    """``FAMILY/WORD``, stable: people write it into their own exceptions."""
    severity: Severity
    about: str
    """What the rule asks and why, one sentence for the documentation."""
    remedy: str
    check: Callable[[Manifest], Iterable[Hit]]


@dataclass(frozen=True, slots=True)
class Joint:
    """A rule between manifests: it sees all that were given."""

    id: str
    severity: Severity
    about: str
    remedy: str
    check: Callable[[Sequence[Manifest]], Iterable[tuple[Manifest, Hit]]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, said in full."""

    file: str
    line: int
    """From 1; the line of the value, or of the nearest value around it."""
    document: int
    """The document's place in the file, from 1; 0 for a file that could not be read as YAML."""
    resource: str
    """``KIND NAMESPACE/NAME``; empty for a file."""
    path: str
    """``spec.template.spec.containers[0].image``."""
    value: str
    rule: str
    severity: Severity
    why: str
    remedy: str


def finding(rule: Rule | Joint, manifest: Manifest, hit: Hit) -> Finding:
    """The hit of a rule with its place."""
    return Finding(
        file=manifest.file,
        line=manifest.line_of(hit.path),
        document=manifest.document,
        resource=manifest.called,
        path=dotted(hit.path),
        value=shown(manifest.at(hit.path)),
        rule=rule.id,
        severity=rule.severity,
        why=hit.why,
        remedy=hit.remedy or rule.remedy,
    )


def dotted(path: Path) -> str:
    """A path as kubectl writes it; keys with dots or slashes in brackets."""
    text = ""
    for step in path:
        if isinstance(step, int) or "." in step or "/" in step:
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


_LONGEST = 60


def shown(value: object) -> str:
    """A value in a line: scalars as they are, what holds others by its kind; empty for none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
