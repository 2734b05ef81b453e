"""How a process shows its numbers: one set of Prometheus metrics, read by Prometheus and sent by OTLP alike.

Belongs here: the page, its port, the bound on labels, the way to OTLP. Does not belong here: what is counted (each
room has its own ``metrics`` or ``measures``; docs/metrics.md lists all).
"""
