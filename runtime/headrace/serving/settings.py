"""What a serving process is told, as values."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.eventing.results import Responder

if TYPE_CHECKING:
    from collections.abc import Mapping

MEBIBYTE = 1024 * 1024
THREAD, PROCESS = "thread", "process"
"""A model runs in a thread of the server's process, or in a process of its own."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How requests to one model are merged and how many may wait."""

    max_size: int = 32
    """Rows in one run of the model; a single request with more runs alone."""
    max_delay: float = 0.0
    """Seconds that a request waits for company at most; it never waits for more than have come at a time lately. 0
    merges only what has come while the model was busy, and so never makes a request slower."""
    max_bytes: int = 0
    """Bytes of the tensors in one run; a larger single request runs alone. 0 sets no bound."""
    max_tokens: int = 0
    """Tokens in one run, padding included, for models that count them. 0 sets no bound."""
    max_queue: int = 512
    """Requests that the model has taken on and not yet answered; one more gets 429."""


@dataclass(frozen=True, slots=True)
class Predictor:
    """Where a transformer's predictor is."""

    host: str
    """HOST or HOST:PORT."""
    protocol: str = "v1"
    """v1, v2 or grpc-v2. Headrace's own transformers speak v2 over REST, but for grpc-v2."""
    use_ssl: bool = False
    timeout: float = 600.0
    """Seconds for one request."""
    retries: int = 0
    """Tries beside the first of a request that got no answer; 0 leaves it to the client."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where one model comes from."""

    target: str
    """``MODULE:CLASS`` or ``FILE.py:CLASS``."""
    name: str
    """The model's name in paths and results."""
    model: str | None = None
    """Model URI, given to classes that take a ``model``."""
    version: str = ""
    """The version in paths; empty for a model without versions."""


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """The models of one process, and its ports."""

    target: str
    """``MODULE:CLASS`` or ``FILE.py:CLASS`` of the first model, which events on ``/`` go to."""
    name: str
    """The first model's name in paths and results."""
    model: str | None = None
    """Model URI, given to classes that take a ``model``."""
    more: tuple[ModelSource, ...] = ()
    """Models beside the first."""
    host: str = "0.0.0.0"  # noqa: S104  # a container is reached from outside; the local twin passes 127.0.0.1
    http_port: int = 8080
    """0 takes any free port; the line printed at start names it."""
    grpc_port: int | None = None
    """As ``http_port``; None for no gRPC."""
    predictor: Predictor | None = None
    batching: BatchLimits = field(default_factory=BatchLimits)
    max_request_bytes: int = 32 * MEBIBYTE
    grace: float = 30.0
    """Seconds that requests in flight are given at SIGTERM."""
    version: str = ""
    """The first model's version in paths; empty for a model without versions."""
    model_memory: int = 0
    """Bytes that all models of a process may take: those that were not asked for longest make room. 0 sets no bound."""
    execution: str = THREAD
    """Where the models run: :data:`THREAD` or :data:`PROCESS`."""
    workers: int = 1
    """Processes behind the ports, each with models of its own; at most one a CPU."""

    @property
    def sources(self) -> tuple[ModelSource, ...]:
        """Every model, the first one first."""
        return (ModelSource(self.target, self.name, self.model, self.version), *self.more)


def identity(name: str, environment: Mapping[str, str] = os.environ) -> Responder:
    """Who answers, as ``HEADRACE_NAMESPACE``, ``HEADRACE_APP`` and ``HEADRACE_MODEL_VERSION`` say.

    Without them: ``default``, the model's name, and Knative's revision (``K_REVISION``) or ``1``.
    """
    return Responder(
        namespace=environment.get("HEADRACE_NAMESPACE") or "default",
        app=environment.get("HEADRACE_APP") or name,
        model_name=name,
        model_version=environment.get("HEADRACE_MODEL_VERSION") or environment.get("K_REVISION") or "1",
    )
