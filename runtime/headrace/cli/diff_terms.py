"""By what two sets of answers are compared: the options that ``diff`` and ``replay`` share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.eventing.comparison.cost import Pricing
    from headrace.eventing.comparison.difference import Tolerance
    from headrace.eventing.comparison.gate import Condition

Rule = Literal["auto", "tensors", "classes", "embeddings", "json", "text"]
As = Annotated[
    Rule, typer.Option("--as", help="What counts: classes, the cosine of embeddings, ... [default: what they hold].",
                       show_default=False)
]  # fmt: skip
Gate = Annotated[
    str | None,
    typer.Option(metavar="CONDITIONS", help="Exit with 1 unless they are met: flips<0.5%, p99<200ms, cosine>0.999."),
]
Html = Annotated[Path | None, typer.Option(help="Write the report as one HTML page.", dir_okay=False)]
Absolute = Annotated[float, typer.Option(min=0.0, help="Numbers that are so near are close.")]
Relative = Annotated[float, typer.Option(min=0.0, help="Or so near as a share of their size.")]
Cosine = Annotated[float, typer.Option(min=-1.0, max=1.0, help="With --as embeddings, a smaller cosine is a change.")]
Top = Annotated[int, typer.Option(min=1, help="How many classes are the first few.")]
Prices = Annotated[
    Path | None, typer.Option(help="Prices of an hour, see docs/usage.md: what answers cost stands beside.")
]
Size = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Of B's replicas, for their price: cpu=2,memory=4Gi,gpu=1,replicas=1."),
]
SizeBefore = Annotated[str | None, typer.Option(metavar="SIZE", help="Of A's replicas [default: as B's].")]


@dataclass(frozen=True, slots=True)
class Terms:
    """By what answers are compared, and where the report goes."""

    rule: Rule = "auto"
    absolute: float = 1e-6
    relative: float = 1e-4
    cosine: float = 0.999
    top: int = 5
    gate: str | None = None
    html: Path | None = None
    prices: Path | None = None
    size: str | None = None
    size_before: str | None = None

    def tolerance(self) -> Tolerance:
        """What counts as the same."""
        from headrace.eventing.comparison.difference import Tolerance

        return Tolerance(self.absolute, self.relative, self.cosine, self.top)

    def conditions(self) -> Sequence[Condition]:
        """The gate's.

        Raises:
            ConfigurationError: it cannot be read.
        """
        from headrace.eventing.comparison.gate import parse_gate

        return parse_gate(self.gate) if self.gate else ()

    def pricing(self) -> tuple[Pricing | None, Pricing | None]:
        """What A's and B's replicas are, and cost; None where nobody says.

        Raises:
            ConfigurationError: the file holds no prices, or a size cannot be read.
        """
        from headrace.telemetry.prices import read_prices

        if self.prices is None:
            if self.size or self.size_before:
                raise ConfigurationError("--size is for prices", hint="give them with --prices FILE")
            return None, None
        prices = read_prices(self.prices)
        return _pricing(prices, self.size_before or self.size, "--size-before"), _pricing(prices, self.size, "--size")


def _pricing(prices: object, text: str | None, flag: str) -> Pricing:
    from headrace.eventing.comparison.cost import Pricing
    from headrace.manifests.quantity import parse_bytes, parse_cpu
    from headrace.telemetry.prices import Prices, ReplicaSize

    assert isinstance(prices, Prices)
    told = dict(part.strip().partition("=")[::2] for part in (text or "").split(",") if part.strip())
    try:
        memory = float(parse_bytes(told.pop("memory"))) if "memory" in told else 0.0
        size = ReplicaSize(parse_cpu(told.pop("cpu")) if "cpu" in told else 0.0, memory, float(told.pop("gpu", "0")))
        replicas = int(told.pop("replicas", "1"))
    except ValueError as fault:
        raise ConfigurationError(f"{flag} {text!r} is no size: {fault}", hint="cpu=2,memory=4Gi,gpu=1") from fault
    if told:
        raise ConfigurationError(f"{flag} {text!r}: there is no {', '.join(told)}", hint="cpu, memory, gpu, replicas")
    return Pricing(prices, size, replicas)
