"""Who used what of a replica, and what it costs: values and arithmetic, no I/O.

A replica's seconds are shared out: what the model computed for an event, and a share of the time that the replica
started or waited. All shares together are the replica's seconds; what nobody asked for is a share of nobody's.

Belongs here: the account of one replica, its records, reports over them. Does not belong here: where records go
(``headrace.eventing.usage``), what a server tells the account (``headrace.serving.metering``), and the tables that
people see (``headrace.cli``).
"""
