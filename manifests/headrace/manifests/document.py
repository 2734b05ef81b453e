"""YAML text to plain values, with the line of each, and every fault of the text in one pass.

Stricter than YAML where YAML surprises: a key given twice, a key that is not text (``on:`` is a boolean), a document
that unfolds beyond any app's size are faults. Dates stay text, as Kubernetes reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

Path = tuple[str | int, ...]
"""Where a value stands in a document: keys and indexes from its top."""

_MOST_NODES = 10_000
_DEEPEST = 40
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake, and its line (from 1)."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document of a file."""

    number: int
    """Its place in the file, from 1."""
    value: object
    lines: Mapping[Path, int]
    """The line of every value: of its key, where it has one."""

    def line_of(self, path: Path) -> int:
        """The line of the value at ``path``, or of the nearest value around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_documents(text: str, *, most_nodes: int = _MOST_NODES) -> tuple[list[Document], list[Problem]]:
    """Every document that is not empty, and every fault; a syntax error ends the reading.

    A document of more than ``most_nodes`` values, aliases written out, is a fault.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    try:
        # Loaders scan for unprintable characters when made, hence inside the block.
        loader = _Loader(text)
        while loader.check_node():
            unfolding = _Unfolding(loader, problems, most_nodes)
            node = loader.get_node()
            assert node is not None  # check_node said so
            value = unfolding.value_of(node, ())
            if value is not None:
                documents.append(Document(len(documents) + 1, value, unfolding.lines))
    except yaml.MarkedYAMLError as fault:
        problems.append(_syntax_problem(fault))
    except yaml.reader.ReaderError as fault:
        line = text.count("\n", 0, fault.position) + 1
        code = ord(text[fault.position])
        problems.append(Problem(line, f"character U+{code:04X} is not allowed in YAML; remove it"))
    except _TooLargeError as fault:
        problems.append(fault.problem)
    return documents, problems


class _Loader(yaml.SafeLoader):
    """A safe loader that leaves dates and a bare ``=`` as text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith((":timestamp", ":value"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _TooLargeError(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem


@dataclass(slots=True)
class _Unfolding:
    """Builds one document's value from its nodes, aliases and merge keys (``<<``) written out."""

    loader: _Loader
    problems: list[Problem]
    most_nodes: int
    lines: dict[Path, int] = field(default_factory=dict)
    count: int = 0

    def value_of(self, node: yaml.Node, path: Path) -> object:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self.count += 1
        # An alias can hold itself, or double in size ten times over: bound both.
        if self.count > self.most_nodes or len(path) > _DEEPEST:
            raise _TooLargeError(Problem(line, "this unfolds to more than any app needs; remove the aliases (*NAME)"))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value_of(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        self._refuse_repeated_keys(node)
        self.loader.flatten_mapping(node)
        # Merged pairs come first: a key of the mapping's own wins over them.
        pairs = {key: (key_node, value) for key_node, value in node.value if (key := self._key(key_node)) is not None}
        mapping: dict[str, object] = {}
        for key, (key_node, value) in pairs.items():
            place = (*path, key)
            self.lines[place] = key_node.start_mark.line + 1
            mapping[key] = self.value_of(value, place)
        return mapping

    def _refuse_repeated_keys(self, node: yaml.MappingNode) -> None:
        first: dict[str, int] = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _MERGE or not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in first:
                before = first[key_node.value]
                self._problem(line, f"key {key_node.value!r} is given twice, first on line {before}; remove one")
            first.setdefault(key_node.value, line)

    def _key(self, node: yaml.Node) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self._problem(node.start_mark.line + 1, "a key must be text, not a list or a mapping")
            return None
        if node.tag.endswith(":bool"):
            line = node.start_mark.line + 1
            self._problem(line, f"key {node.value!r} is a boolean in YAML; put it in quotes where you mean the word")
            return None
        # Other scalars as they are written: an unknown key 1 is named so by the spec's own check.
        return str(node.value)

    def _scalar(self, node: yaml.Node) -> object:
        try:
            return self.loader.construct_object(node)
        except (yaml.constructor.ConstructorError, ValueError) as fault:
            line = node.start_mark.line + 1
            reason = fault.problem if isinstance(fault, yaml.constructor.ConstructorError) else str(fault)
            self._problem(line, f"value {node.value!r} cannot be read: {reason}")
            return ""

    def _problem(self, line: int, text: str) -> None:
        problem = Problem(line, text)
        if problem not in self.problems:  # an aliased mapping is read once a use
            self.problems.append(problem)


def _syntax_problem(fault: yaml.MarkedYAMLError) -> Problem:
    mark = fault.problem_mark or fault.context_mark
    line = mark.line + 1 if mark else 1
    reason = fault.problem or "cannot be read"
    if "'\\t'" in reason:
        return Problem(line, "a tab stands where YAML wants spaces; indent with spaces")
    column = f" at column {mark.column + 1}" if mark else ""
    context = f" ({fault.context}{f' from line {fault.context_mark.line + 1}' if fault.context_mark else ''})"
    return Problem(line, f"not YAML: {reason}{column}{context if fault.context else ''}")
