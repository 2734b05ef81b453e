"""Files, folders and standard input to manifests; every file that cannot be read as one is a finding."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from headrace.errors import ConfigurationError
from headrace.manifests.document import Document, Problem, read_documents
from headrace.manifests.lint.finding import Finding
from headrace.manifests.lint.manifest import Manifest, mapping, sequence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STDIN = "-"
_ENDINGS = (".yaml", ".yml", ".json")
_LARGEST = 32 << 20
_MOST_NODES = 1_000_000
_APP = "headrace.dev/"
_KUSTOMIZATION = "kustomization.yaml"
_TWICE = "given twice"
"""In the problem of a key that stands twice: the rest of the document is read all the same."""


@dataclass(slots=True)
class Sources:
    """What was read."""

    manifests: list[Manifest] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    apps: int = 0
    """How many InferenceApps were read; their own checks are done."""


def read(paths: Iterable[str]) -> Sources:
    """Everything in files, in folders (``*.yaml``, ``*.yml``, ``*.json``, at any depth) and on standard input (``-``).

    Raises:
        ConfigurationError: a path that is not there or cannot be read, a folder without manifests.
    """
    found = Sources()
    for path in paths:
        for name, bundle, text in _texts(path):
            found.files += 1
            _add(name, bundle, text, found)
    return found


def _texts(path: str) -> Iterator[tuple[str, str, str]]:
    """Name, bundle and content of every file."""
    if path == STDIN:
        yield "<stdin>", "", _decoded(sys.stdin.buffer.read(), "<stdin>")
        return
    given = FilePath(path)
    if not given.exists():
        raise ConfigurationError(f"{path} does not exist", hint="name a file, a folder, or - for standard input")
    files = _manifest_files(given) if given.is_dir() else [given]
    if not files:
        raise ConfigurationError(f"{path} has no manifests: no file that ends in {', '.join(_ENDINGS)}")
    for file in files:
        try:
            if file.stat().st_size > _LARGEST:
                raise ConfigurationError(f"{file} is larger than 32 MiB: no manifest is")
            content = file.read_bytes()
        except OSError as fault:
            raise ConfigurationError(f"{file} cannot be read: {fault.strerror}") from fault
        bundle = str(file.parent) if (file.parent / _KUSTOMIZATION).is_file() else ""
        yield str(file), bundle, _decoded(content, str(file))


def _manifest_files(folder: FilePath) -> list[FilePath]:
    """The files of a folder; of a kustomization's only its resources, for patches are no manifests of their own."""
    files = sorted(each for each in folder.rglob("*") if each.suffix in _ENDINGS and each.is_file())
    named: dict[FilePath, set[str]] = {}
    for each in files:
        if each.name == _KUSTOMIZATION:
            documents, _ = read_documents(_decoded(each.read_bytes(), str(each)))
            resources = sequence(mapping(documents[0].value).get("resources")) if documents else []
            named[each.parent] = {each.name, *map(str, resources)}
    return [each for each in files if each.parent not in named or each.name in named[each.parent]]


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise ConfigurationError(
            f"{name} is not UTF-8 text (byte {fault.start + 1})", hint="is it a manifest? save it as UTF-8"
        ) from None


def _add(name: str, bundle: str, text: str, found: Sources) -> None:
    documents, problems = read_documents(text, most_nodes=_MOST_NODES)
    found.findings += [_yaml_fault(name, problem, text) for problem in problems]
    if any(_TWICE not in problem.text for problem in problems):
        return  # of a text that is not YAML only a part was read: what is said of it could be false
    found.apps += sum(map(_is_app, documents))
    if any(map(_is_app, documents)) and not problems:
        found.findings += _app_faults(name, text)
    for document in documents:
        if not _is_app(document):
            found.manifests += _resources(name, bundle, document, found)


def _is_app(document: Document) -> bool:
    return str(mapping(document.value).get("apiVersion", "")).startswith(_APP)


def _app_faults(name: str, text: str) -> Iterator[Finding]:
    """The mistakes of the apps of a ``headrace.yaml``, as ``headrace render`` finds them."""
    from headrace.manifests.loading import parse_apps  # noqa: PLC0415  # the spec takes long to build; seldom needed

    documents, _ = read_documents(text, most_nodes=_MOST_NODES)
    apps = [document for document in documents if _is_app(document)]
    if len(apps) < len(documents):
        yield _file_fault(name, 1, "app/mixed", "apps and other manifests in one file", "put the apps into their own")
        return
    try:
        parse_apps(text, name)
    except ConfigurationError as fault:
        for problem in fault.problems or (fault.message,):
            line, _, why = problem.removeprefix(f"{name}:").partition(": ")
            at, said = (int(line), why) if line.isdecimal() else (1, problem)
            yield _file_fault(name, at, "app/invalid", said, "see `headrace schema` for what an app may hold")


def _resources(name: str, bundle: str, document: Document, found: Sources) -> Iterator[Manifest]:
    """The resources of a document: itself, or those of a List."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), document.value)]
    while waiting:
        place, value = waiting.pop(0)
        if not isinstance(value, dict):
            line = document.line_of(place)
            why = "a manifest is a mapping that starts with apiVersion and kind"
            found.findings.append(_file_fault(name, line, "yaml/no-manifest", why, "is it a manifest?"))
        elif str(value.get("kind", "")).endswith("List") and isinstance(value.get("items"), list):
            waiting += [((*place, "items", index), each) for index, each in enumerate(sequence(value["items"]))]
        else:
            yield Manifest(name, bundle, document, place, value)


def _yaml_fault(name: str, problem: Problem, text: str) -> Finding:
    lines = text.splitlines()
    line = lines[problem.line - 1] if 0 < problem.line <= len(lines) else ""
    if _TWICE in problem.text:
        return _file_fault(name, problem.line, "yaml/duplicate-key", problem.text, "remove one: the last would win")
    remedy = "correct the YAML"
    if "{{" in line or "{{" in text:
        remedy = "this is a template: lint what `helm template` prints"
    return _file_fault(name, problem.line, "yaml/syntax", problem.text, remedy)


def _file_fault(name: str, line: int, rule: str, why: str, remedy: str) -> Finding:
    return Finding(name, line, 0, "", "", "", rule, "error", why, remedy)


READING_RULES: dict[str, tuple[str, str]] = {
    "yaml/syntax": ("The text is YAML.", "Correct it where the line says; lint a template's output, not the template."),
    "yaml/duplicate-key": ("A key stands once in its mapping: the last of two wins silently.", "Remove one."),
    "yaml/no-manifest": ("A document is a mapping with apiVersion and kind.", "Name only files with manifests."),
    "app/invalid": ("An InferenceApp is valid, as `headrace render` checks it.", "See `headrace schema`."),
    "app/mixed": ("A file holds apps or manifests, not both.", "Put the apps into their own file."),
}
"""What reading itself can find: id, and for the documentation the rule and its remedy."""
