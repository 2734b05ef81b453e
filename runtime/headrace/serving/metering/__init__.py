"""What a server tells of the usage of its replica, where ``HEADRACE_USAGE_TOPIC`` is set.

Belongs here: which requests and runs there were, and where the shares go. Does not belong here: how seconds are
shared out (``headrace.telemetry.usage``).
"""
