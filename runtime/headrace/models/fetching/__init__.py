"""How a model's files come here, and how they are kept.

Belongs here: the process that asks the stores, checksums, and the cache that replicas on one machine share. Does not
belong here: what the files mean.
"""
