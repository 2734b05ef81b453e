"""What is wrong with Kubernetes manifests, ours or anybody's: schemas, and what webhooks let through or refuse late.

What belongs here: reading files, rules as small functions (``rules``, a family a file, one table), findings. What does
not: printing, and rules of the app spec, which ``headrace.manifests.loading`` has.
"""
