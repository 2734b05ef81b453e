"""Where a model's code runs: never on the event loop.

What belongs here: threads and processes that run calls, and how many CPUs and which allocator they get. What does not:
which requests go together (``batching``), and what a request is.
"""
