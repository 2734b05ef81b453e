"""``headrace schema``."""

from __future__ import annotations

import typer


def schema() -> None:
    """Print the JSON Schema of headrace.yaml, for editors.

    Save it beside the file and let the file's first line say
    `# yaml-language-server: $schema=headrace.schema.json`.
    """
    import json

    from headrace.manifests.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
