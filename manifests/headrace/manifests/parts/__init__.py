"""The parts of the app spec: one module a concern, each a frozen value that a mapping of ``headrace.yaml`` becomes.

Belongs here: fields, their bounds and defaults. Does not belong here: what a cluster makes of them (the renderers).
"""
