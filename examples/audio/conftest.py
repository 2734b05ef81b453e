"""The tests have a Kafka broker, this app on it, and its clock: docs/testing.md of Headrace tells of the fixtures."""

pytest_plugins = ["headrace.testing.pytest_plugin"]
