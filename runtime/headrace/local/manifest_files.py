"""Kubernetes manifests as files, whoever wrote them -> resources, and the twin that runs them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import yaml

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from headrace.local.twin import Twin

_ENDINGS = (".yaml", ".yml")
_NOT_APPLIED = frozenset({"Kustomization", "Component"})
"""What kustomize reads itself."""


def manifest_files(path: Path) -> list[Path]:
    """The files at ``path``: itself, or every ``.yaml`` and ``.yml`` below a folder, by name.

    Raises:
        ConfigurationError: there is none.
    """
    if path.is_file():
        return [path]
    found = sorted(
        file
        for file in (path.rglob("*") if path.is_dir() else ())
        if file.suffix in _ENDINGS and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not found:
        raise ConfigurationError(f"No manifests at {path}", hint="name a file, or a folder with .yaml files")
    return found


def read_resources(path: Path) -> list[dict[str, Any]]:
    """The resources of all documents, lists of them taken apart, in the order of files and documents.

    Raises:
        ConfigurationError: a file cannot be read, or is no YAML; every one is named.
    """
    problems: list[str] = []
    found = [each for file in manifest_files(path) for each in _documents(file, problems)]
    if problems:
        raise ConfigurationError(f"{path} cannot be read", problems=tuple(problems))
    return [each for each in found if not isinstance(each, dict) or each.get("kind") not in _NOT_APPLIED]


def _documents(file: Path, problems: list[str]) -> Iterator[Any]:
    try:
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as fault:
        problems.append(f"{file}: {fault}")
        return
    except yaml.YAMLError as fault:
        problems.append(f"{file}: {' '.join(str(fault).split())}")
        return
    for document in documents:
        if isinstance(document, dict) and document.get("kind") == "List":
            yield from document.get("items") or ()
        elif document is not None:
            yield document


async def follow(twin: Twin, path: Path, told: Callable[[str], None], interval: float = 1.0) -> None:
    """Go by changed annotations of these files until cancelled.

    Args:
        twin: The twin that runs them.
        path: As for :func:`read_resources`.
        told: Called with what was followed, and with what was not and why.
        interval: Seconds between two looks.
    """
    seen = _stamps(path)
    while True:
        await asyncio.sleep(interval)
        if (now := _stamps(path)) == seen:
            continue
        seen = now
        try:
            for line in twin.rescale(read_resources(path)):
                told(line)
        except ConfigurationError as fault:
            told(f"{path} is not followed: {fault}")


def _stamps(path: Path) -> dict[Path, tuple[int, int]]:
    try:
        return {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in manifest_files(path)}
    except (OSError, ConfigurationError):
        return {}
