"""From manifests to a running app on a cluster, and back.

Belongs here: what is planned, applied, waited for, pruned, rolled back and examined, over the narrow ``ClusterApi``,
and the one implementation of it over HTTP. Does not belong here: what the manifests say (the renderers), and how
progress is shown (``headrace.cli``).
"""
