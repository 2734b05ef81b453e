"""Reports of usage: every second of every replica is in one row, whatever was told, lost, or told twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import ConfigurationError, InvalidInputError
from headrace.telemetry.prices import Prices, Rates
from headrace.telemetry.usage.record import Life, Usage
from headrace.telemetry.usage.report import NOBODYS, By, Told, report
from headrace.telemetry.usage.tenant import TenantRule

HOUR_OF_A_CPU = Prices("EUR", Rates(cpu_hour=3600.0))
"""A second of a CPU costs 1."""
EVERY: tuple[By, ...] = ("tenant", "app", "model", "day")
_SECONDS = st.floats(min_value=0, max_value=1000, allow_nan=False)


def used(replica: str = "r", tenant: str = "acme", *, at: float = 1000.0, began: float = 0.0, **numbers: float) -> Told:
    """A record of usage."""
    shares = {f"{name}_seconds": numbers.pop(name, 0.0) for name in ("compute", "cold_start", "idle")}
    record = Usage(
        namespace="n",
        app="a",
        component="predictor",
        replica=replica,
        cpu=1,
        model="m",
        revision="1",
        tenant=tenant,
        events=int(numbers.pop("events", 1 if tenant else 0)),
        items=int(numbers.pop("items", 1)),
        replica_seconds=sum(shares.values()),
        replica_started=began,
        **shares,  # type: ignore[arg-type]  # the three by name
    )
    return Told(at, record)


def lived(replica: str = "r", *, at: float = 1000.0, seconds: float) -> Told:
    """The life of a replica."""
    return Told(at, Life(namespace="n", app="a", component="predictor", replica=replica, cpu=1, seconds=seconds))


_TOLD = st.builds(
    used,
    st.sampled_from(["r", "s", "t"]),
    st.sampled_from(["", "acme", "other"]),
    at=st.floats(min_value=0, max_value=1e6),
    compute=_SECONDS,
    cold_start=_SECONDS,
    idle=_SECONDS,
)


@given(st.lists(_TOLD, max_size=30), st.dictionaries(st.sampled_from(["r", "s"]), _SECONDS), st.sampled_from(EVERY))
def test_rows_add_up_to_the_seconds_of_all_replicas(told: list[Told], more: dict[str, float], by: By) -> None:
    """By whatever they are grouped, rows are the replicas' lives, within rounding; and so are their costs."""
    seconds: dict[str, float] = {}
    for each in told:
        assert isinstance(each.record, Usage)
        seconds[each.record.replica] = seconds.get(each.record.replica, 0.0) + each.record.replica_seconds
    lives = [lived(replica, at=2e6, seconds=seconds.get(replica, 0.0) + rest) for replica, rest in more.items()]
    found = report([*told, *lives], by, prices=HOUR_OF_A_CPU)
    whole = sum(seconds.values()) + sum(more.values())
    assert sum(row.seconds for row in found.rows) == pytest.approx(whole, rel=1e-9, abs=1e-6)
    assert found.replica_seconds == pytest.approx(whole, rel=1e-9, abs=1e-6)
    assert sum(row.cost for row in found.rows) == pytest.approx(whole, rel=1e-9, abs=1e-6)
    assert found.total.seconds == pytest.approx(whole, rel=1e-9, abs=1e-6)


def test_what_a_replica_did_not_tell_of_its_life_is_its_ending() -> None:
    """A replica that told 8 s and lived for 10 has 2 s of nobody's."""
    found = report([used(compute=8), lived(seconds=10)], "tenant")
    rows = {row.key: row for row in found.rows}
    assert (rows["acme"].seconds, rows[NOBODYS].ending_seconds, found.ended) == (8, 2, 1)


def test_a_replica_that_told_more_than_its_life_shows() -> None:
    """A sum that does not hold is not hidden by a share below nothing."""
    found = report([used(compute=12), lived(seconds=10)], "tenant")
    assert (found.total.seconds, found.replica_seconds) == (12, 10)


def test_costs_of_a_thousand_events_and_of_waiting() -> None:
    """The price of a second times the seconds; idle is told apart; who had no event has no price of one."""
    told = [used(compute=2, idle=1, events=4), used(tenant="", idle=5)]
    acme, nobody = sorted(report(told, "tenant", prices=HOUR_OF_A_CPU).rows, key=lambda row: -row.events)
    assert (acme.cost, acme.cost_per_thousand, acme.idle_cost) == (3, 750, 1)
    assert (nobody.cost, nobody.cost_per_thousand, nobody.idle_cost) == (5, None, 5)


def test_scale_to_zero_saved_the_time_without_a_replica() -> None:
    """Two lives of 10 s with 30 s between them, and 50 s after: 80 s that an always-on replica would have cost."""
    lives = [lived("r", at=10, seconds=10), lived("s", at=50, seconds=10), lived("t", at=50, seconds=5)]
    found = report(lives, "app", prices=HOUR_OF_A_CPU, now=100)
    assert (found.saved_seconds, found.saved_cost) == (80, 80)


def test_a_replica_that_is_not_seen_to_end_counts_as_there_while_it_speaks() -> None:
    """On a cluster nobody tells of lives: silence of two minutes is an end, a shorter one is none."""
    assert report([used(at=100, idle=100)], "app", now=150).saved_seconds == 0
    assert report([used(at=100, idle=100)], "app", now=400).saved_seconds == 300


def test_a_report_since_a_moment_leaves_out_what_was_told_before() -> None:
    """Also of a replica that goes on: its seconds are those told since, and its ending."""
    told = [used(at=10, compute=10), used(at=20, compute=5), lived(at=21, seconds=16)]
    found = report(told, "app", since=15)
    assert (found.total.seconds, found.replica_seconds) == (6, 6)


def test_rows_of_days_and_models() -> None:
    """A day is one of UTC, in order; a model is named with its revision."""
    told = [used(at=86400 * 2, compute=1), used(at=0, compute=1)]
    assert [row.key for row in report(told, "day").rows] == ["1970-01-01", "1970-01-03"]
    assert [row.key for row in report(told, "model").rows] == ["m 1"]


@pytest.mark.parametrize("data", [{}, {"namespace": 3}, {"namespace": "n", "events": "many"}, {"cpu": True}])
def test_what_is_no_usage_is_refused(data: dict[str, object]) -> None:
    """Records of others on the topic are told apart by their data too."""
    with pytest.raises(InvalidInputError):
        Usage.from_data(data)


def test_usage_survives_its_wire_and_a_later_version() -> None:
    """A field that is not known here is passed over."""
    told = used(compute=1.5).record
    assert Usage.from_data({**told.as_data(), "later": 1}) == told


@pytest.mark.parametrize("text", ["tenant", "attribute:", "cookie:x", ""])
def test_a_rule_that_says_no_tenant_is_refused(text: str) -> None:
    """A typing error in the variable is told at the start."""
    with pytest.raises(ConfigurationError, match="says no tenant"):
        TenantRule.parse(text)
