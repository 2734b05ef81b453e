"""``headrace init``: a new project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from headrace.cli.projects.project import Project


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The project's folder: new, or empty.")],
    example: Annotated[
        Literal["pictures", "text", "audio"] | None,
        typer.Option(help="What it begins as; docs/examples.md tells of each [default: pictures].", show_default=False),
    ] = None,
    from_mar: Annotated[
        Path | None,
        typer.Option(metavar="FILE.mar", help="Serve an archive of TorchServe's; docs/torchserve.md tells how."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The app's name [default: the example's, or the model's].")] = None,
    namespace: Annotated[str | None, typer.Option(help="The app's namespace [default: the example's].")] = None,
) -> None:
    """Begin a new project: headrace.yaml, classes of your own or an archive's, tests that run the app, a README.

    A folder that holds anything is left as it is.
    """
    from headrace.cli.projects.example import example_project
    from headrace.cli.projects.mar import mar_project
    from headrace.cli.projects.project import check_free, write
    from headrace.errors import ConfigurationError

    if example and from_mar:
        raise ConfigurationError("--example and --from-mar exclude each other", hint="leave one of them out")
    check_free(folder)
    if from_mar:
        project = mar_project(from_mar, name, namespace)
    else:
        project = example_project(example or "pictures", name, namespace)
    write(project, folder)
    typer.echo(_told(project, folder))


def _told(project: Project, folder: Path) -> str:
    files = [f"  {folder / name}" for name in sorted(project.files)]
    first = [f"  {line}" for line in (f"cd {folder}", *project.first)]
    return "\n".join([*files, *(f"  note: {note}" for note in project.notes), "", "Begin with:", *first])
