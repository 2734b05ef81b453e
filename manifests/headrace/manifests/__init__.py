"""From the app spec to Kubernetes manifests.

Belongs here: the ``InferenceApp`` spec and one renderer a concern, each a pure function from spec to resources. Does
not belong here: running them (``headrace.local``, or a cluster).
"""
