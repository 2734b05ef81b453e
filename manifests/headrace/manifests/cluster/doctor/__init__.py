"""Whether a cluster can run what is to be deployed.

Belongs here: one module a question, each giving findings with their fix; nothing is changed in the cluster. Does not
belong here: what is wrong with the manifests themselves (``headrace.manifests.lint``).
"""
