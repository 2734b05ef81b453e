"""Two sets of answers to the same events: what changed, how much, and whether that is allowed.

What belongs here: reading answers, the difference of two, the report over all, the gate, and the page that shows it.
What does not: how answers are made (``replay``), or where Kafka is.
"""
