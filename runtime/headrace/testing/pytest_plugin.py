"""Pytest fixtures: a Kafka broker for a test run, topics that no other test has, your app up, and its clock.

Name the module in your top ``conftest.py``::

    pytest_plugins = ["headrace.testing.pytest_plugin"]

Every test that asks for ``headrace_broker`` gets the same broker, in a thread of the test process, on a free port of
127.0.0.1, with an empty data folder that pytest removes. Tests share it by topics of their own: ``headrace_topic``.
``headrace_app`` is the app of your ``headrace.yaml`` on that broker, up as long as the tests run.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest

from headrace.testing.broker import BrokerSettings, running_broker
from headrace.testing.clock import ForwardClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace.testing.app import AppRunner

_LONGEST = 200
"""Characters of a test's name that a topic carries: Kafka allows 249 in all."""


@pytest.fixture(scope="session")
def headrace_broker_settings() -> BrokerSettings:
    """Settings of the broker; a fixture of the same name in your ``conftest.py`` takes the place of this one."""
    return BrokerSettings()


@pytest.fixture(scope="session")
def headrace_broker(
    tmp_path_factory: pytest.TempPathFactory, headrace_broker_settings: BrokerSettings
) -> Iterator[str]:
    """The bootstrap address, ``127.0.0.1:PORT``, of a broker that runs as long as the tests do."""
    with running_broker(tmp_path_factory.mktemp("headrace-broker"), headrace_broker_settings) as bootstrap:
        yield bootstrap


@pytest.fixture
def headrace_topic(request: pytest.FixtureRequest) -> str:
    """A topic name that no other test has, with the name of the test in it; made when a client first names it."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", request.node.name)[:_LONGEST].strip("-")
    return f"{name}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def headrace_clock() -> ForwardClock:
    """The time of the apps' autoscalers: ``forward(60)`` makes it a minute later at once."""
    return ForwardClock()


@pytest.fixture(scope="session")
def headrace_app_file(pytestconfig: pytest.Config) -> Path:
    """The file of the apps, beside pytest's configuration; a fixture of the same name takes the place of this one."""
    return pytestconfig.rootpath / "headrace.yaml"


@pytest.fixture(scope="session")
def headrace_app(
    tmp_path_factory: pytest.TempPathFactory,
    headrace_app_file: Path,
    headrace_broker: str,
    headrace_clock: ForwardClock,
) -> Iterator[AppRunner]:
    """Your apps, up on the tests' broker and by the tests' clock, as ``headrace up`` runs them."""
    from headrace.testing.app_thread import app_in_thread  # noqa: PLC0415  # tests of a broker alone start quicker

    home = tmp_path_factory.mktemp("headrace-home")
    with app_in_thread(headrace_app_file, home, kafka=headrace_broker, clock=headrace_clock) as running:
        yield running
