"""One resource of a file, with safe ways to look into it: a manifest under test may hold anything anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.manifests.document import Document, Path


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """A resource, its file, and its place there."""

    file: str
    bundle: str
    """What is applied together: a folder with a kustomization, or nothing for all the rest."""
    source: Document
    place: Path
    """Where the resource stands in its document: ``()``, or below a List's ``items``."""
    body: dict[str, Any]

    @property
    def document(self) -> int:
        """The number of its document in the file, from 1."""
        return self.source.number

    @property
    def api(self) -> str:
        """``apiVersion``, or nothing."""
        return text(self.body.get("apiVersion"))

    @property
    def group(self) -> str:
        """The API group; empty for the core's."""
        group, slash, _ = self.api.rpartition("/")
        return group if slash else ""

    @property
    def kind(self) -> str:
        """``kind``, or nothing."""
        return text(self.body.get("kind"))

    @property
    def metadata(self) -> dict[str, Any]:
        """``metadata``, or an empty mapping."""
        return mapping(self.body.get("metadata"))

    @property
    def spec(self) -> dict[str, Any]:
        """``spec``, or an empty mapping."""
        return mapping(self.body.get("spec"))

    @property
    def name(self) -> str:
        """``metadata.name``, or nothing."""
        return text(self.metadata.get("name"))

    @property
    def namespace(self) -> str:
        """``metadata.namespace``, or nothing."""
        return text(self.metadata.get("namespace"))

    @property
    def annotations(self) -> dict[str, Any]:
        """``metadata.annotations``."""
        return mapping(self.metadata.get("annotations"))

    @property
    def labels(self) -> dict[str, Any]:
        """``metadata.labels``."""
        return mapping(self.metadata.get("labels"))

    @property
    def called(self) -> str:
        """``KIND NAMESPACE/NAME``, as far as they are there."""
        name = self.name or text(self.metadata.get("generateName"))
        return f"{self.kind or 'resource'} {'/'.join(part for part in (self.namespace, name) if part)}".strip()

    def is_a(self, group: str, *kinds: str) -> bool:
        """Whether it is of the group and one of the kinds."""
        return self.group == group and self.kind in kinds

    def at(self, path: Path) -> object:
        """The value at a path; None where there is none."""
        return at(self.body, path)

    def line_of(self, path: Path) -> int:
        """The line in the file of a value, or of the nearest around it."""
        return self.source.line_of((*self.place, *path))


def at(value: object, path: Path) -> object:
    """The value at a path inside ``value``; None where there is none."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def mapping(value: object) -> dict[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: object) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """The value if it is text, else nothing."""
    return value if isinstance(value, str) else ""


def whole(value: object) -> int | None:
    """The value if it is a whole number, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def items(value: object, path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The mappings of the list at ``path`` below ``value``, each with its place."""
    for index, each in enumerate(sequence(at(value, path))):
        if isinstance(each, dict):
            yield (*path, index), each
