"""The one place that talks to Kafka through a client library, behind the Protocols of ``headrace.eventing.log``."""
