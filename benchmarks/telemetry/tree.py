"""The spans of one picture, alone and in a batch of 16, as OtelTap got them: python -m benchmarks.telemetry.tree."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.telemetry.receiver import OtelTap, Received, roots, tree

from headrace.cli.demo_pictures import sample_pictures
from headrace.testing.app import running_app, until

EXAMPLE = Path(__file__).parents[2] / "examples" / "pictures" / "headrace.yaml"
BATCH = 16
QUIET = 1.0
"""Seconds without a new span after which none is on its way: exporters send theirs every tenth of one."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """What the receiver got of one picture alone, and of a batch."""

    single: list[Received]
    """The trace of the first picture, which woke the models."""
    members: list[list[Received]]
    """The traces of the pictures of the batch."""
    request: list[Received]
    """The trace of the batch's request."""


def observe(folder: Path) -> Pictures:
    """Run the picture example in this folder, its batches of 16, with a receiver of somebody else's."""
    example = folder / "headrace.yaml"
    batch = f"    batch: {{size: {BATCH}, delay: 3s}}\n"
    example.write_text(EXAMPLE.read_text().replace("    topic: pictures\n", f"    topic: pictures\n{batch}", 1))
    # The smallest, each twice: a request takes a megabyte.
    smallest = sorted(sample_pictures(), key=lambda path: path.stat().st_size)[: BATCH // 2]
    pictures = [folder / f"{number}{path.suffix}" for number, path in enumerate(smallest * 2)]
    for copy, path in zip(pictures, smallest * 2, strict=True):
        copy.write_bytes(path.read_bytes())
    with OtelTap() as tap:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": tap.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with running_app(example, folder, **settings) as app:
            (first,) = app.publish("pictures", pictures[0]).values()
            woke = app.answers("pictures.labels", first)[first]
            ids = [*app.publish("pictures", *pictures).values()]
            answers = app.answers("pictures.labels", *ids)
            _until_quiet(tap)
        _until_quiet(tap)
        traces = tap.traces()
    members = [traces[_trace(answers[each].get("traceparent"))] for each in ids]
    request = max((spans for spans in traces.values() if _is_request(spans)), key=_links, default=[])
    return Pictures(traces[_trace(woke.get("traceparent"))], members, request)


def main() -> None:
    """Print the trees."""
    with tempfile.TemporaryDirectory(prefix="headrace-tree-") as folder:
        found = observe(Path(folder))
    print(f"One picture, which woke the models:\n\n{tree(found.single)}\n")
    print(f"The request of a batch:\n\n{tree(found.request)}\n")
    print(f"One picture of the batch:\n\n{tree(found.members[0])}")


def _until_quiet(tap: OtelTap) -> None:
    last = (0, 0.0)

    def quiet() -> bool:
        nonlocal last
        if len(tap.spans) != last[0]:
            last = (len(tap.spans), time.monotonic())
        return bool(last[0]) and time.monotonic() - last[1] > QUIET

    until(quiet, "no more spans")


def _trace(parent: str | None) -> str:
    return (parent or "").split("-")[1]


def _is_request(spans: list[Received]) -> bool:
    (first, *_) = roots(spans)
    return first.name == "POST" and not first.parent_id


def _links(spans: list[Received]) -> int:
    return max(len(span.links) for span in spans)


if __name__ == "__main__":
    main()
