"""The models that the contenders ask: an echo, and MiniLM, each with a transformer that may stand before it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ECHO_FILE = Path(__file__).with_name("echo.py")
_SENTENCE = "The delivery of your parcel has been moved to the afternoon of the day after tomorrow. "


@dataclass(frozen=True, slots=True)
class Case:
    """A model, as ``headrace serve`` is told of it."""

    name: str
    predictor: str
    """The class."""
    transformer: str
    """The class that stands before it."""
    member: bytes
    """What an event's data begins with, up to the text that is as long as is asked for."""
    end: bytes
    text: str
    """Of which that text is made, over and over."""

    def data(self, label: str, size: int) -> bytes:
        """The data of an event of about that many bytes; the text begins with the label."""
        wanted = size - len(self.member) - len(self.end)
        text = f"{label} {self.text * (wanted // len(self.text) + 1)}"
        return self.member + text[: max(wanted, len(label) + 1)].encode() + self.end


CASES = {
    "echo": Case("echo", f"{ECHO_FILE}:Echo", f"{ECHO_FILE}:Relay", b'{"instances":["', b'"]}', "x"),
    "minilm": Case(
        "minilm",
        "headrace.predictors.minilm:MiniLM",
        "headrace.transformers.text:TextTransformer",
        b'{"text":"',
        b'"}',
        _SENTENCE,
    ),
}


def kserve_predictor(name: str) -> Any:
    """The predictor for KServe's own server."""
    if name == "minilm":
        from headrace.predictors.minilm import MiniLM  # noqa: PLC0415  # torch

        return MiniLM("echo")
    from benchmarks.eventing.echo import Echo  # noqa: PLC0415

    return Echo("echo")


def kserve_transformer(name: str) -> Any:
    """The transformer for KServe's own server: it leaves the asking to KServe."""
    if name == "minilm":
        from benchmarks.eventing.plain_text import PlainText  # noqa: PLC0415

        return PlainText("echo")
    from benchmarks.eventing.echo import Relay  # noqa: PLC0415

    return Relay("echo")


def in_process(name: str) -> Callable[[dict[str, Any]], Awaitable[Any]]:
    """The model, and what its transformer does, as one function from an event's data to the answer."""
    model = kserve_predictor(name)
    model.load()
    if name == "minilm":
        from benchmarks.eventing.plain_text import PlainText  # noqa: PLC0415

        text = PlainText("echo")
        text.load()

        async def verdict(event: dict[str, Any]) -> Any:
            return await text.postprocess(model.predict(text.preprocess(event)))

        return verdict

    async def echo(event: dict[str, Any]) -> Any:
        return model.predict(event)

    return echo
