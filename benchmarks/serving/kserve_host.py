"""KServe's own ModelServer with one of the benchmark's models: ``python -m benchmarks.serving.kserve_host``."""

from __future__ import annotations

import argparse
import importlib
import sys


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--class", dest="target", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--grpc-port", type=int, required=True)
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    del sys.argv[1:]  # kserve reads the command line when it is imported
    from kserve import ModelServer  # noqa: PLC0415  # slow, and reads sys.argv

    module, _, name = options.target.partition(":")
    model = getattr(importlib.import_module(module), name)(options.name)
    if not model.ready:
        model.load()
    if options.quiet:
        _silence()
    server = ModelServer(
        http_port=options.http_port, grpc_port=options.grpc_port, enable_latency_logging=not options.quiet
    )
    server.start([model])


def _silence() -> None:
    """Turn off all that KServe logs about a request: an access line, a latency line, and two of its timing."""
    import logging  # noqa: PLC0415  # after kserve has set it up

    for name in ("uvicorn.access", "kserve.trace", "kserve"):
        logging.getLogger(name).setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
