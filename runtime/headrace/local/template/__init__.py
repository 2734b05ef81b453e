"""A process that has imported a model's code and forks replicas of it.

What belongs here: that process, the twin's end of it, and what the two say to each other. Not what a replica does
afterwards (``headrace.serving``).

Importing torch, kserve and the user's code takes most of a cold start. A template does it once; each replica is then
a fork, which shares the imported pages. It imports and does nothing else: a process that has threads or has touched
CUDA cannot be forked safely, so such a template refuses and replicas are started as processes of their own.
"""
