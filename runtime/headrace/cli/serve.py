"""``headrace serve``."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.errors import ConfigurationError
from headrace.manifests.quantity import parse_duration

if TYPE_CHECKING:
    from headrace.serving.settings import ModelSource, Predictor

_PROTOCOLS = ("v1", "v2", "grpc-v2")


class Execution(str, Enum):
    """Where a model runs."""

    THREAD = "thread"
    PROCESS = "process"


def serve(
    target: Annotated[
        str, typer.Option("--class", metavar="MODULE:CLASS", help="The model class; also path/to/file.py:CLASS.")
    ],
    name: Annotated[
        str, typer.Option("--name", "--model-name", "--model_name", help="The model's name in paths and results.")
    ] = "model",
    model: Annotated[
        str | None, typer.Option(metavar="URI", help="Where the model's files are: pypi:// file:// s3:// hf:// ...")
    ] = None,
    host: Annotated[str, typer.Option(envvar="HEADRACE_HOST", help="Address to listen on.")] = "0.0.0.0",  # noqa: S104  # a container's server is reached from outside
    http_port: Annotated[
        int, typer.Option("--http-port", "--http_port", min=0, max=65535, help="Port of HTTP; 0 takes a free one.")
    ] = 8080,
    grpc_port: Annotated[
        int,
        typer.Option(
            "--grpc-port",
            "--grpc_port",
            envvar="HEADRACE_GRPC_PORT",
            min=0,
            max=65535,
            help="Port of gRPC; 0 takes a free one.",
        ),
    ] = 8081,
    enable_grpc: Annotated[
        str, typer.Option("--enable-grpc", "--enable_grpc", metavar="true|false", help="false: HTTP alone.")
    ] = "true",
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also",
            metavar="NAME[/VERSION]=MODULE:CLASS[@URI]",
            help="One more model, or version of one, in this server; may be given again. Events on / go to the first.",
        ),
    ] = None,
    model_version: Annotated[
        str, typer.Option(metavar="VERSION", help="The first model's version in paths, beside others given by --also.")
    ] = "",
    model_memory: Annotated[
        str,
        typer.Option(
            envvar="HEADRACE_MODEL_MEMORY",
            metavar="SIZE",
            help="Memory of all models together: 4Gi. Those not asked for longest make room; 0: no bound.",
        ),
    ] = "0",
    predictor_host: Annotated[
        str | None,
        typer.Option("--predictor-host", "--predictor_host", metavar="HOST:PORT", help="A transformer's predictor."),
    ] = None,
    predictor_protocol: Annotated[
        str,
        typer.Option(
            "--predictor-protocol",
            "--predictor_protocol",
            "--protocol",
            help="How the predictor is asked: v1, v2 or grpc-v2. Headrace's transformers use v2 in place of v1.",
        ),
    ] = "v1",
    predictor_use_ssl: Annotated[
        str, typer.Option("--predictor-use-ssl", "--predictor_use_ssl", help="true: ask the predictor over HTTPS.")
    ] = "false",
    predictor_timeout: Annotated[
        float,
        typer.Option(
            "--predictor-timeout",
            "--predictor_request_timeout_seconds",
            min=0.001,
            help="Seconds for one request to the predictor.",
        ),
    ] = 600.0,
    predictor_retries: Annotated[
        int,
        typer.Option(
            "--predictor-retries",
            "--predictor_request_retries",
            min=0,
            help="Tries beside the first of a request to the predictor that got no answer; 0: 2 by Headrace's own.",
        ),
    ] = 0,
    max_batch_size: Annotated[int, typer.Option(min=1, help="Most rows in one run of the model.")] = 32,
    max_batch_delay: Annotated[
        str, typer.Option(metavar="DURATION", help="How long a request waits for company at most: 5ms, 0.1s.")
    ] = "0ms",
    max_batch_bytes: Annotated[int, typer.Option(min=0, help="Most bytes of tensors in one run; 0: no bound.")] = 0,
    max_batch_tokens: Annotated[
        int,
        typer.Option(min=0, help="Most tokens in one run, padding included, of models that count them; 0: no bound."),
    ] = 0,
    max_queue: Annotated[
        int, typer.Option(min=1, help="Most requests that the model works on or has waiting; one more gets 429.")
    ] = 512,
    max_request_bytes: Annotated[int, typer.Option(min=1, help="Largest request body; more gets 413.")] = 33554432,
    grace: Annotated[
        str, typer.Option(metavar="DURATION", help="How long requests in flight may take after SIGTERM.")
    ] = "30s",
    execution: Annotated[
        Execution,
        typer.Option(help="Where each model runs: a thread of this process, or a process of its own."),
    ] = Execution.THREAD,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", min=1, help="Processes behind the ports, each with its own model; one a CPU at most."
        ),
    ] = 1,
) -> None:
    """Serve model classes over HTTP and gRPC: CloudEvents, KServe v1 and the Open Inference Protocol (v2).

    Takes KServe's own spelling of the flags too (--model_name, --predictor_host, --http_port), as its controller
    adds them to a transformer's container; those of KServe's flags that mean nothing here are named and passed over.
    """
    from headrace.models.fetching.settings import parse_amount
    from headrace.serving.server import run
    from headrace.serving.settings import BatchLimits, ServeSettings
    from headrace.telemetry.logs import configure_logs

    configure_logs()
    more = tuple(_source(text) for text in also or ())
    _check_versions([(name, model_version), *((each.name, each.version) for each in more)])
    run(
        ServeSettings(
            target=target,
            name=name,
            model=model,
            more=more,
            host=host,
            http_port=http_port,
            grpc_port=grpc_port if _truth("--enable-grpc", enable_grpc) else None,
            predictor=_predictor(
                predictor_host, predictor_protocol, predictor_use_ssl, predictor_timeout, predictor_retries
            ),
            version=model_version,
            model_memory=parse_amount("--model-memory", model_memory),
            batching=BatchLimits(
                max_size=max_batch_size,
                max_delay=_seconds("--max-batch-delay", max_batch_delay),
                max_queue=max_queue,
                max_bytes=max_batch_bytes,
                max_tokens=max_batch_tokens,
            ),
            max_request_bytes=max_request_bytes,
            grace=_seconds("--grace", grace),
            execution=execution.value,
            workers=workers,
        )
    )


def _predictor(host: str | None, protocol: str, use_ssl: str, timeout: float, retries: int) -> Predictor | None:
    from headrace.serving.settings import Predictor as Setting

    if protocol not in _PROTOCOLS:
        raise ConfigurationError(f"--predictor-protocol {protocol!r} is none of {', '.join(_PROTOCOLS)}")
    ssl = _truth("--predictor-use-ssl", use_ssl)
    return Setting(host, protocol, ssl, timeout, retries) if host else None


def _truth(flag: str, text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise ConfigurationError(f"{flag} {text!r} is neither true nor false")
    return text.lower() in ("true", "1", "yes")


def _source(text: str) -> ModelSource:
    from headrace.serving.settings import ModelSource as Source

    named, _, place = text.partition("=")
    name, slash, version = named.partition("/")
    target, _, uri = place.partition("@")
    if not name or ":" not in target or "/" in version or (slash and not version):
        raise ConfigurationError(f"--also {text!r} must read NAME=MODULE:CLASS or NAME/VERSION=MODULE:CLASS@URI")
    return Source(target, name, uri or None, version)


def _check_versions(given: list[tuple[str, str]]) -> None:
    """Refuse models that no path tells apart."""
    for name, version in given:
        if given.count((name, version)) > 1:
            raise ConfigurationError(f"Model {name!r} is given twice", hint="--also NAME/VERSION=..., --model-version")
        if version and (name, "") in given:
            told = f"Model {name!r} has a version {version!r}, and one without"
            raise ConfigurationError(told, hint="give the first one with --model-version, others as NAME/VERSION=...")


def _seconds(flag: str, text: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as fault:
        raise ConfigurationError(f"{flag} {text!r}: {fault}") from fault
