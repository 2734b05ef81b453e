"""Pytest fixtures: a Kafka broker for a test run, and topics that no other test has.

Name the module in your top ``conftest.py``::

    pytest_plugins = ["headrace.testing.pytest_plugin"]

Every test that asks for ``headrace_broker`` gets the same broker, in a thread of the test process, on a free port of
127.0.0.1, with an empty data folder that pytest removes. Tests share it by topics of their own: ``headrace_topic``.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest

from headrace.testing.broker import BrokerSettings, running_broker

if TYPE_CHECKING:
    from collections.abc import Iterator

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
