"""A new project out of one of the examples."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.cli.projects.project import SPEC, Project
from headrace.errors import HeadraceError
from headrace.manifests.loading import parse_apps

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CLASSES = {
    "predictor": "What you write here takes the place of what the model does: ``network``, ``preprocess``...",
    "transformer": "``preprocess`` gets an event's data or a request, ``postprocess`` what the predictor answered.",
}
"""Part of an app -> what its class is for."""
_CLASS_FILE = '''"""{title} of {app}."""

from __future__ import annotations

from {module} import {base}


class {name}({base}):
    """{purpose}"""
'''
_YOURS = """
## Make it yours

`predictor.py` and `transformer.py` hold the classes that `headrace.yaml` names. They do what Headrace's own do until
you write into them, or have them derive from something else: any `kserve.Model` is served.
"""


def example_project(example: str, name: str | None, namespace: str | None) -> Project:
    """The example, with a class of one's own for each of its parts.

    Args:
        example: Its folder's name.
        name: The app's name; None keeps the example's.
        namespace: The app's namespace; None keeps the example's.

    Raises:
        ConfigurationError: a name that Kubernetes would not take.
    """
    found = dict(_files(examples() / example))
    (app,) = parse_apps(found[SPEC].decode(), SPEC)
    named = (app.name, name or app.name), (app.namespace, namespace or app.namespace)
    files = {path: _renamed(content, *named) for path, content in found.items()}
    parts = {"predictor": app.spec.predictor, "transformer": app.spec.transformer}
    targets = {part: component.class_path for part, component in parts.items() if component and component.class_path}
    for part, target in targets.items():
        files[f"{part}.py"] = _class_file(part, target, name or app.name)
    files["README.md"] += _YOURS.encode()
    files[SPEC] = _with_own_classes(files[SPEC].decode(), targets).encode()
    first = ("pytest                  its tests", "headrace up             runs it")
    return Project(name or app.name, files, first)


def examples() -> Path:
    """The folder of the examples: in the wheel beside this package, in a checkout where they are edited."""
    installed = Path(str(resources.files("headrace.cli"))) / "examples"
    checkout = Path(__file__).parents[4] / "examples"
    for folder in (installed, checkout):
        if (folder / "pictures" / SPEC).exists():
            return folder
    raise HeadraceError("This installation of Headrace holds no examples", hint="install it anew")


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
        if path.is_file() and not hidden:
            yield inside.as_posix(), path.read_bytes()


def _renamed(content: bytes, name: tuple[str, str], namespace: tuple[str, str]) -> bytes:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return content  # a picture, a sound
    text = re.sub(rf"^  namespace: {namespace[0]}$", f"  namespace: {namespace[1]}", text, flags=re.MULTILINE)
    text = text.replace(f"{name[0]}.{namespace[0]}.localhost", f"{name[0]}.{namespace[1]}.localhost")
    return re.sub(rf"(?<![\w-]){name[0]}(?![\w-])", name[1], text).encode()


def _class_file(part: str, target: str, app: str) -> bytes:
    module, _, base = target.partition(":")
    title = "The model" if part == "predictor" else "What stands before the model"
    names = {"title": title, "app": app, "module": module, "base": base, "name": part.capitalize()}
    return _CLASS_FILE.format(purpose=_CLASSES[part], **names).encode()


def _with_own_classes(text: str, targets: Mapping[str, str]) -> str:
    for part, target in targets.items():
        text = text.replace(f"    class: {target}\n", f"    class: {part}.py:{part.capitalize()}\n")
    return text
