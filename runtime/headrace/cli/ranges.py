"""Parts of a topic as a user names them on the command line; shared by ``record`` and ``replay``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.moments import moment
from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from headrace.eventing.replay.choice import Choice
    from headrace.eventing.replay.ranges import Wanted

Since = Annotated[str | None, typer.Option(help="Events of the last 10m, 2h, 1d; or since a time of RFC 3339.")]
Until = Annotated[str | None, typer.Option(help="Events from before so long ago, or before a time of RFC 3339.")]
Offsets = Annotated[
    str | None,
    typer.Option(metavar="P:FROM-TO,...", help="Offsets by partition, TO included: 0:100-199,1:50- [default: all]."),
]
Group = Annotated[str | None, typer.Option(help="Only what this consumer group has done, up to its position.")]
Expression = Annotated[str | None, typer.Option("--filter", help="CESQL: only events that match.")]
Sample = Annotated[
    str | None, typer.Option(metavar="SHARE", help="A share of the events, 10% or 0.1, by their ids: always the same.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Most events.")]
_PART = re.compile(r"(\d+):(\d+)-(\d*)\Z")


def wanted(topic: str, since: str | None, until: str | None, offsets: str | None, group: str | None) -> Wanted:
    """The part of a topic that these options mean.

    Raises:
        ConfigurationError: one of them cannot be read.
    """
    from headrace.eventing.replay.ranges import Wanted

    return Wanted(topic, moment(since, "--since"), moment(until, "--until"), _offsets(offsets), group)


def warn(sentence: str) -> None:
    """Tell of what is not there, and go on."""
    typer.echo(f"headrace: {sentence}", err=True)


def share(text: str | None) -> float:
    """The share that ``--sample`` means; 1 for none.

    Raises:
        ConfigurationError: it is no share over 0 and up to 1.
    """
    if text is None:
        return 1.0
    try:
        found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        found = 0.0
    if not 0 < found <= 1:
        raise ConfigurationError(f"--sample {text!r} is no share", hint="write 10% or 0.1; at most 100%")
    return found


def choice(expression: str | None, sample: str | None) -> Choice:
    """The events that these options mean.

    Raises:
        ConfigurationError: the filter or the share cannot be read.
    """
    from headrace.eventing.filters import compile_filters
    from headrace.eventing.replay.choice import Choice

    return Choice(compile_filters([{"cesql": expression}]) if expression else None, share(sample))


def _offsets(text: str | None) -> dict[int, tuple[int, int | None]]:
    found: dict[int, tuple[int, int | None]] = {}
    for part in text.split(",") if text else ():
        match = _PART.match(part.strip())
        if not match or (match[3] and int(match[3]) < int(match[2])):
            raise ConfigurationError(f"--offsets {part!r} is no range", hint="write 0:100-199, or 0:100- to its end")
        found[int(match[1])] = (int(match[2]), int(match[3]) + 1 if match[3] else None)
    return found
