"""Yesterday's events once more: recordings, ranges of topics, and runs that send them to a model and keep the answers.

What belongs here: where replayed events come from, how each is marked, how fast they go, and where answers and
progress are kept. How an event is delivered, retried and answered belongs to the dispatcher, which a run is: the
log that it reads is a range, and what it commits is the run's own progress. So a run loses nothing and answers nothing
twice, by the same invariant as live traffic, and the live consumer group is never touched.
"""
