"""Knative Services: revisions, traffic, tags, roll-outs; from the manifests and at the ingress."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.local.conftest import component, running

from headrace.errors import ConfigurationError
from headrace.local.plan import plan
from headrace.local.resources import Name, Route, Share
from headrace.local.rollout import Rollout
from headrace.local.running_route import RunningRoute
from headrace.testing.clock import VirtualClock

if TYPE_CHECKING:
    from pathlib import Path

    from tests.local.conftest import Running

OLD, NEW = Name("vision", "labels-old"), Name("vision", "labels")


def knative(
    revision: str | None = None, *, traffic: list[dict[str, Any]] | None = None, rollout: str | None = None, **pod: Any
) -> dict[str, Any]:
    """A Knative Service called labels."""
    template: dict[str, Any] = {
        "metadata": {"annotations": {"headrace.dev/idle": "1h"}},
        "spec": {"containers": component()["containers"], **pod},
    }
    if revision:
        template["metadata"]["name"] = revision
    annotations = {"serving.knative.dev/rollout-duration": rollout} if rollout else {}
    spec: dict[str, Any] = {"template": template, **({"traffic": traffic} if traffic else {})}
    about = {"name": "labels", "namespace": "vision", "annotations": annotations}
    return {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": about, "spec": spec}


def test_a_service_is_a_revision_and_a_route() -> None:
    """With the service's own name, Knative's name for its first revision, and all of the traffic."""
    done = plan([knative()])
    (service,) = done.services
    assert (service.name, service.revision, service.knative_name) == (NEW, "labels-00001", "labels")
    assert done.routes == (Route((NEW,), (Share(NEW),)),)


def test_a_later_document_of_one_name_is_the_next_revision() -> None:
    """As if one had been applied after the other: the last one has the traffic, the first none and no replica."""
    done = plan([knative("labels-old"), knative()])
    assert [(service.name, service.revision) for service in done.services] == [
        (OLD, "labels-old"),
        (NEW, "labels-00002"),
    ]
    assert done.routes == (Route((NEW,), (Share(NEW),)),)


def test_traffic_is_split_and_tagged() -> None:
    """By revision and by `latestRevision`; a tag is a host of its own."""
    traffic = [
        {"revisionName": "labels-old", "percent": 90, "tag": "stable"},
        {"latestRevision": True, "percent": 10, "tag": "canary"},
    ]
    assert plan([knative("labels-old"), knative(traffic=traffic)]).routes == (
        Route((NEW,), (Share(OLD, 90), Share(NEW, 10))),
        Route((Name("vision", "stable-labels"),), (Share(OLD),)),
        Route((Name("vision", "canary-labels"),), (Share(NEW),)),
    )


@pytest.mark.parametrize(
    ("traffic", "fault"),
    [
        ([{"latestRevision": True, "percent": 90}], "spec.traffic adds up to 90 percent, not to 100"),
        (
            [{"revisionName": "gone", "percent": 100}],
            "spec.traffic[0].revisionName is 'gone', no revision of these manifests, which have labels-00001",
        ),
    ],
)
def test_traffic_to_nowhere_is_named(traffic: list[dict[str, Any]], fault: str) -> None:
    """With the path, and what there is."""
    with pytest.raises(ConfigurationError) as caught:
        plan([knative(traffic=traffic)])
    assert fault in str(caught.value)


def test_two_revisions_of_one_name_are_named() -> None:
    """Knative refuses to change a revision."""
    with pytest.raises(ConfigurationError, match="'labels-old', the name of an earlier revision"):
        plan([knative("labels-old"), knative("labels-old")])


@pytest.mark.parametrize(
    ("rollout", "shares"),
    [
        (Rollout(100, 0), {0: 100}),
        (Rollout(1, 100), {0: 1}),
        (Rollout(100, 5), {0: 1, 1.9: 1, 2: 26, 3: 51, 4: 76, 5: 100}),
        (Rollout(100, 100), {0: 1, 2: 2, 51: 51, 100: 100, 500: 100}),
        (Rollout(50, 26), {0: 1, 2: 3, 13: 25, 26: 50}),
        (Rollout(100, 0.5), {0: 1, 2: 100}),
        (Rollout(100, 60, step=10), {0: 1, 20: 21, 60: 100}),
    ],
)
def test_a_rollout_takes_equal_steps(rollout: Rollout, shares: dict[float, int]) -> None:
    """One per cent first, then steps as large as fit; none shorter than the first took."""
    assert {moment: rollout.newest(moment) for moment in shares} == shares


def test_traffic_moves_over_the_rollout_duration() -> None:
    """From the revision before to the newest, by the twin's clock."""
    done = plan([knative("labels-old"), knative(rollout="101s")])
    (route,) = done.routes
    assert (route.shares, route.rollout) == ((Share(NEW, before=OLD),), 101)
    clock = VirtualClock()
    revisions: Any = {OLD: "old", NEW: "new"}
    running_route = RunningRoute(route, revisions, clock, "127.0.0.1:1")
    assert running_route.shares() == {NEW: 1, OLD: 99}
    clock.time += 51
    assert running_route.shares() == {NEW: 50, OLD: 50}
    picked = Counter(str(running_route.pick()) for _ in range(2000))
    assert 800 < picked["new"] < 1240
    clock.time += 51
    assert running_route.shares() == {NEW: 100}


def test_limits_are_read_and_checked() -> None:
    """None of the two others is longer than the whole."""
    limits = plan([knative(timeoutSeconds=20)]).services[0].limits
    assert (limits.total, limits.start, limits.idle) == (20, 20, 0)
    for longer in (
        knative(timeoutSeconds=20, responseStartTimeoutSeconds=30),
        knative(timeoutSeconds=20, idleTimeoutSeconds=30),
    ):
        with pytest.raises(ConfigurationError, match="Seconds is 30, more than timeoutSeconds, 20"):
            plan([longer])


def test_tags_and_percentages_at_the_ingress(home: Path) -> None:
    """Each tag's host leads to its revision, the service's own to both; K_REVISION tells which one answers."""
    traffic = [
        {"revisionName": "labels-old", "percent": 50, "tag": "stable"},
        {"latestRevision": True, "percent": 50, "tag": "canary"},
    ]

    async def answers(up: Running, host: str) -> str:
        async with up.client.get(up.twin.ingress_url, headers={"Host": f"{host}.vision.localhost"}) as response:
            environment = (await response.json())["environment"]
            assert (environment["K_SERVICE"], environment["K_CONFIGURATION"]) == ("labels", "labels")
            revision: str = environment["K_REVISION"]
            return revision

    async def scenario() -> None:
        async with running(home, knative("labels-old"), knative(traffic=traffic)) as up:
            assert await answers(up, "stable-labels") == "labels-old"
            assert await answers(up, "canary-labels") == "labels-00002"
            seen = Counter([await answers(up, "labels") for _ in range(40)])
            assert seen.keys() == {"labels-old", "labels-00002"}

    asyncio.run(scenario())


def test_a_revision_without_a_route_has_no_replica(home: Path) -> None:
    """Whatever its minimum."""
    kept = {"autoscaling.knative.dev/min-scale": "1"}
    old, new = knative("labels-old"), knative()
    for document in (old, new):
        document["spec"]["template"]["metadata"]["annotations"] = kept

    async def scenario() -> None:
        async with running(home, old, new) as up:
            await up.until(lambda: bool(up.kinds("ready")))
            assert {event.subject for event in up.kinds("starting")} == {"vision/labels"}

    asyncio.run(scenario())
