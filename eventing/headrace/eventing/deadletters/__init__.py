"""What happens to dead letters after they are written: reading, choosing, sending them back, dropping them.

Belongs here: the letter as a value, the marks that tell which letters are handled, the transactions that send letters
back. Does not: how a letter is made (``headrace.eventing.deadletter``), tables and flags (``headrace.cli``).
"""
