"""How Headrace tells what it does: OpenTelemetry traces, set up once a process.

Belongs here: exporters, propagation between Kafka, CloudEvents and HTTP, names of attributes. Does not belong here:
the spans themselves (each room makes its own) and the store that shows them (``headrace.local``).
"""
