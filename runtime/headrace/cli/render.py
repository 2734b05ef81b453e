"""``headrace render``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast, get_args

import typer

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.manifests.options import RenderOptions
    from headrace.manifests.resource import Resource


Form = Literal["yaml", "kustomize", "helm"]


def render(
    file: Annotated[Path, typer.Option("-f", "--file", help="The headrace.yaml with the apps.")] = Path(
        "headrace.yaml"
    ),
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for one file a resource; standard output without.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="Render the apps under a profile: dev, gpu, prod, or one of the file's own.")
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format", help="yaml; kustomize: a base, and an overlay a profile; helm: a chart. The last two need -o."
        ),
    ] = "yaml",
    kafka: Annotated[
        str | None,
        typer.Option(
            help="Bootstrap servers in the cluster, HOST:PORT[,...]. Topics are rendered for Strimzi's alone."
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Image of the dispatcher, and of containers whose app names none.")
    ] = None,
) -> None:
    """Print the Kubernetes manifests of a headrace.yaml.

    The same file and options give the same bytes.
    """
    from headrace.cli.render_files import files_of, write
    from headrace.manifests.loading import load_apps
    from headrace.manifests.rendering import render_all
    from headrace.manifests.yaml_text import to_yaml

    chosen = _form(form, output, profile)
    apps = load_apps(file, profile)
    options = render_options(kafka, image)
    resources = render_all(apps, options)
    if output is None:
        typer.echo(to_yaml(resources), nl=False)
    else:
        write(files_of(chosen, file, apps, options), output)
        typer.echo(
            f"{len(resources)} manifests of {len(apps)} {'app' if len(apps) == 1 else 'apps'} in {output}", err=True
        )
    for note in _notes(resources, options):
        typer.echo(f"headrace: {note}", err=True)


def _form(form: str, output: Path | None, profile: str | None) -> Form:
    if form not in get_args(Form):
        raise ConfigurationError(f"--format {form!r} is unknown", hint=f"write one of {', '.join(get_args(Form))}")
    if form != "yaml" and output is None:
        raise ConfigurationError(f"--format {form} makes several files", hint="name a folder for them with -o FOLDER")
    if form == "kustomize" and profile is not None:
        raise ConfigurationError(
            "--format kustomize holds every profile as an overlay",
            hint=f"remove --profile, and build overlays/{profile}",
        )
    return cast("Form", form)


def render_options(kafka: str | None, image: str | None) -> RenderOptions:
    """The cluster that manifests are rendered for.

    Raises:
        ConfigurationError: the address is no list of HOST:PORT.
    """
    from headrace.manifests.options import RenderOptions, default_image, strimzi_of

    usual = RenderOptions()
    servers = kafka or usual.kafka
    if not all(_is_address(server) for server in servers.split(",")):
        raise ConfigurationError(f"--kafka {servers!r} is no list of HOST:PORT", hint="write --kafka HOST:9092")
    return RenderOptions(image=image or default_image(), kafka=servers, strimzi=strimzi_of(servers))


def _is_address(server: str) -> bool:
    host, colon, port = server.rpartition(":")
    return bool(host and colon and port.isdecimal() and host == host.strip())


def _notes(resources: Sequence[Resource], options: RenderOptions) -> list[str]:
    """What the reader of the manifests must still see to."""
    from headrace.manifests.options import PLACEHOLDER_IMAGE

    notes = []
    if f"{PLACEHOLDER_IMAGE}:" in str(resources):
        notes.append(f"note: {options.image} is a placeholder; name your image with --image or `image:` in the spec")
    if options.strimzi is None:
        notes.append(f"note: {options.kafka} is not Strimzi's, so no topics are rendered; make them yourself")
    return notes
