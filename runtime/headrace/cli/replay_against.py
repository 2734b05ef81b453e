"""What the answers of a replay are compared with: recorded ones, or those of somebody who answers the same events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.app_topics import app_topics
from headrace.cli.diff import compare_places
from headrace.cli.diff_terms import Terms
from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.eventing.replay.plan import Plan, Rival, ServedModel

Against = Annotated[
    str | None,
    typer.Option(
        metavar="PLACE|REVISION",
        help="Compare at the end, as `headrace diff` does: with `recorded`, the app's topic of results; with a .jsonl "
        "file, a topic or TOPIC@RUN; or with who answers the same events once more: a URL, app:NAME of the running "
        "`headrace up`, or class:MODULE:CLASS, which is started and then gone.",
    ),
]
AgainstModel = Annotated[
    str | None, typer.Option(metavar="URI", help="Where the files of the class to compare with are [default: --model].")
]
AgainstEnv = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="A variable of that class's process.", show_default=False),
]


@dataclass(frozen=True, slots=True)
class Compared:
    """What is compared at the end of a run."""

    against: str | None
    terms: Terms
    kafka: str | None

    def check(self) -> None:
        """Refuse what cannot be compared, before a long run.

        Raises:
            ConfigurationError: there is nothing to compare with, or the gate cannot be read.
        """
        if self.against is None and (self.terms.gate or self.terms.html):
            raise ConfigurationError("--gate and --html are about a comparison", hint="say with what: --against PLACE")
        self.terms.conditions()
        self.terms.pricing()

    def rival(self, beside: ServedModel | None, model: str | None, environment: list[str] | None) -> Rival | None:
        """Who answers the same events, where ``--against`` names somebody and no answers.

        Args:
            beside: The class that is replayed to, whose transformer and files the other one shares.
            model: Files of its own.
            environment: Variables of its own.

        Raises:
            ConfigurationError: options that contradict each other, or no such app.
        """
        from headrace.cli.replay_plan import app_url, served
        from headrace.eventing.replay.plan import Rival

        named = self.against or ""
        kind, _, name = named.partition(":")
        if (model or environment) and kind != "class":
            raise ConfigurationError(
                "--against-model and --against-env are of a model class", hint="--against class:MODULE:CLASS"
            )
        if named.startswith(("http://", "https://")):
            return Rival(named, target=named)
        if kind == "app" and name:
            return Rival(named, target=app_url(name))
        if kind == "class" and name:
            files, before = (beside.uri, beside.transformer) if beside else ("", "")
            return Rival(named, served=served(name, model or files or None, before or None, environment))
        return None

    def by(self, plan: Plan, folder: Path, app: str | None, output: str) -> None:
        """Compare this run's answers.

        Raises:
            typer.Exit: the gate is not met.
        """
        from headrace.eventing.replay.plan import RIVAL_ANSWERS

        if self.against is None and plan.rival is None:
            return
        after = plan.results_file or f"{plan.results_topic}@{plan.run}"
        if plan.rival:
            before, name = str(folder / RIVAL_ANSWERS), plan.rival.name
        else:
            before = name = (app_topics(app, None).results or "") if self.against == "recorded" else str(self.against)
        compare_places(before, after, self.terms, names=(name, _named(plan)), kafka=self.kafka, output=output)


def _named(plan: Plan) -> str:
    """What the run's answers are called in the report."""
    to = plan.served.predictor if plan.served else plan.target
    return f"{to} ({plan.run})"
