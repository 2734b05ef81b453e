"""From manifests to findings: every rule over every resource, then the rules between resources."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError
from headrace.manifests.lint.finding import Finding, Rule, finding
from headrace.manifests.lint.reading import Sources, read
from headrace.manifests.lint.rules import schema
from headrace.manifests.lint.rules.table import ALL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from headrace.manifests.lint.manifest import Manifest

_TOOLS = ("kustomize.config.k8s.io/",)
"""Files of tools that are not applied to a cluster."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at and what was found."""

    files: int
    resources: int
    findings: tuple[Finding, ...]
    """By file, then line."""
    unchecked: dict[str, int] = field(default_factory=dict)
    """How many resources of which kinds have no schema here: only the rules of every kind looked at them."""

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(each.severity == "error" for each in self.findings)

    @property
    def warnings(self) -> int:
        """How many findings are warnings."""
        return len(self.findings) - self.errors


def lint(paths: Sequence[str]) -> Report:
    """Everything that is wrong with the manifests in files, folders and (``-``) standard input.

    Raises:
        ConfigurationError: a path cannot be read, or nothing there is a manifest.
    """
    sources = read(paths)
    if not sources.manifests and not sources.findings and not sources.apps:
        raise ConfigurationError(f"no manifest in {', '.join(paths)}", hint="name a file that holds one")
    return report(sources)


def report(sources: Sources) -> Report:
    """The findings of what was read."""
    manifests = [each for each in sources.manifests if not each.api.startswith(_TOOLS)]
    found = [*sources.findings, *findings(manifests)]
    found.sort(key=lambda each: (each.file, each.line, each.path))
    unchecked = Counter(f"{each.api} {each.kind}" for each in manifests if each.kind and not schema.has_schema(each))
    return Report(sources.files, len(manifests) + sources.apps, tuple(found), dict(sorted(unchecked.items())))


def findings(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    """The findings of every rule; of one place a schema's only where no other rule has one."""
    told: set[tuple[str, int, str, str]] = set()
    for each in _all(manifests):
        place = (each.file, each.document, each.resource, each.path)
        if not each.rule.startswith("schema/") or place not in told:
            yield each
        told.add(place)


def _all(manifests: Sequence[Manifest]) -> Iterable[Finding]:
    by_name: dict[str, list[Manifest]] = {}
    for each in manifests:
        by_name.setdefault(each.bundle, []).append(each)
    bundles = list(by_name.values())
    schemas = [rule for rule in ALL if isinstance(rule, Rule) and rule.id.startswith("schema/")]
    for rule in ALL:
        if not isinstance(rule, Rule):
            yield from (finding(rule, each, hit) for bundle in bundles for each, hit in rule.check(bundle))
        elif rule not in schemas:
            yield from (finding(rule, each, hit) for each in manifests for hit in rule.check(each))
    for each in manifests:  # by manifest, so that one walk through a schema serves all of its rules
        yield from (finding(rule, each, hit) for rule in schemas for hit in rule.check(each))
