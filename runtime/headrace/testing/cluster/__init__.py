"""A Kubernetes API server for tests: in memory, or over real HTTP.

Belongs here: what a cluster's API does with resources (versions, field ownership, watches, refusals), and scripts in
place of its operators. Does not belong here: running anything; nothing here starts a pod.
"""
