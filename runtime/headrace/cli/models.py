"""``headrace models``: what the cache of fetched models holds, and what becomes of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
import typer

from headrace.cli.target import OUTPUT_HELP
from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from headrace.models.fetching.cache import Cache, Kept

Output = Annotated[Literal["table", "json"], typer.Option(help=OUTPUT_HELP)]

models = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List the models that were fetched and are kept on this machine, fetch one, or make room.",
)


@models.command("list")
def list_models(output: Output = "table") -> None:
    """List the models of the cache, the least recently used first; those in use are not pruned."""
    kept = _cache().kept()
    if output == "json":
        typer.echo(orjson.dumps([_facts(each) for each in kept]).decode())
        return
    _print(kept)


@models.command()
def pull(
    uri: Annotated[str, typer.Argument(help="s3:// gs:// hf:// https:// pypi:// ..., also with ?sha256=.")],
    output: Output = "table",
) -> None:
    """Fetch a model unless it is here, check it, and print its path and the checksum to pin it with."""
    import logging

    from headrace.models.fetching.archive import archive_format
    from headrace.models.fetching.checksums import digest_of
    from headrace.models.model_uri import parse_model_uri
    from headrace.models.storage import model_path

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = model_path(uri)
    wanted = parse_model_uri(uri)
    # The checksum of an archive is that of the archive, which is not kept.
    digest = wanted.sha256 or ("" if archive_format(wanted.last) else digest_of(path))
    if output == "json":
        typer.echo(orjson.dumps({"uri": wanted.shown, "path": str(path), "sha256": digest}).decode())
        return
    typer.echo(path)
    if digest:
        typer.echo(f"sha256={digest}")


@models.command()
def prune(
    keep: Annotated[str, typer.Option(metavar="SIZE", help="Room that the most recently used ones may have.")] = "0",
    output: Output = "table",
) -> None:
    """Remove the models that no process uses, the least recently used first, and what killed fetches have left."""
    from headrace.models.fetching.settings import parse_amount

    gone = _cache().prune(parse_amount("--keep", keep))
    if output == "json":
        typer.echo(orjson.dumps([_facts(each) for each in gone]).decode())
        return
    for each in gone:
        typer.echo(f"removed {each.entry.uri} ({_mebibytes(each)})")
    typer.echo(f"{len(gone)} models removed, {sum(each.entry.size for each in gone) / 2**20:.1f} MiB")


def _cache() -> Cache:
    from headrace.models.fetching.cache import Cache
    from headrace.models.fetching.settings import cache_settings

    settings = cache_settings()
    if not settings.folder.exists():
        return Cache(settings)
    if not settings.folder.is_dir():
        raise ConfigurationError(f"The model cache {settings.folder} is no folder", hint="see HEADRACE_MODEL_CACHE")
    return Cache(settings)


def _facts(kept: Kept) -> dict[str, object]:
    return {
        "uri": kept.entry.uri,
        "sha256": kept.entry.digest,
        "bytes": kept.entry.size,
        "fetched": _when(kept.entry.fetched),
        "used": _when(kept.used),
        "inUse": kept.in_use,
        "key": kept.key,
    }


def _print(kept: list[Kept]) -> None:
    from rich.table import Table

    from headrace.cli.console import wide_console
    from headrace.models.fetching.settings import cache_settings

    table = Table(box=None, pad_edge=False)
    for heading in ("MODEL", "MiB", "USED", "IN USE", "SHA-256"):
        table.add_column(heading, justify="right" if heading == "MiB" else "left", overflow="fold")
    for each in kept:
        used = "yes" if each.in_use else "no"
        size = f"{each.entry.size / 2**20:.1f}"
        table.add_row(each.entry.uri, size, _when(each.used), used, each.entry.digest[:12])
    console = wide_console()
    console.print(table)
    total = sum(each.entry.size for each in kept)
    console.print(f"{len(kept)} models, {total / 2**20:.1f} MiB in {cache_settings().folder}")


def _mebibytes(kept: Kept) -> str:
    return f"{kept.entry.size / 2**20:.1f} MiB"


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
