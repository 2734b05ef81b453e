"""Which requests go into one run of a model, and how each caller gets its own answer back.

What belongs here: the line of waiting requests, when a run starts, what a failed run means for its members. What does
not: where the run happens (``execution``), and how several requests become one (the hooks of ``headrace.models``).
"""
