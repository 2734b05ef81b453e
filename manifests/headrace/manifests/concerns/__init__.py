"""The concerns of production beside the app's own parts: each module says what its part of the spec becomes.

A concern is a pure function from app and cluster to resources; one that changes pods of other resources says so as
``PodAdditions``. Does not belong here: the app's own topics, services and dispatcher.
"""
