"""How far an app's consumer group is behind, asked of a broker."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition

from headrace.cli.app_lag import LagWatch
from headrace.errors import ConfigurationError
from headrace.eventing.kafka.topics import TopicSpec, create_topics
from headrace.local.state import RunningApp
from headrace.testing.broker import running_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APP = RunningApp("labels", "vision", ("pictures",), group="labels-group")


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[str]:
    """A broker with ten records on two partitions."""
    with running_broker(tmp_path) as bootstrap:
        create_topics(bootstrap, [TopicSpec("pictures", 2, {})])
        with closing(KafkaProducer(bootstrap_servers=bootstrap)) as producer:
            for number in range(10):
                producer.send("pictures", b"x", partition=number % 2)
            producer.flush()
        yield bootstrap


def commit(kafka: str, offset: int) -> None:
    """As the group's dispatcher would, on the first partition."""
    with closing(KafkaConsumer(bootstrap_servers=kafka, group_id=APP.group, enable_auto_commit=False)) as consumer:
        partition = TopicPartition("pictures", 0)
        consumer.assign([partition])
        consumer.commit({partition: OffsetAndMetadata(offset, "", -1)})


def test_lag_and_rate_follow_the_commits(kafka: str) -> None:
    """Before the first commit everything is ahead; the rate is that of the commits since the look before."""
    with closing(LagWatch(kafka, [APP])) as watch:
        (first,) = watch.look()
        assert (first.app, first.lag, first.rate) == ("labels", 10, 0.0)
        commit(kafka, 4)
        (second,) = watch.look()
        assert second.lag == 6
        assert second.rate > 0
        (third,) = watch.look()
        assert (third.lag, third.rate) == (6, 0.0)


def test_an_app_without_a_group_is_left_out(kafka: str) -> None:
    """Knative's own sources have groups of their own."""
    with closing(LagWatch(kafka, [RunningApp("other", "vision", ("pictures",))])) as watch:
        assert watch.look() == ()


def test_a_topic_that_is_gone_is_named(kafka: str) -> None:
    """The caller decides what to show."""
    with (
        closing(LagWatch(kafka, [RunningApp("labels", "vision", ("paintings",), group="g")])) as watch,
        pytest.raises(ConfigurationError, match="paintings"),
    ):
        watch.look()
