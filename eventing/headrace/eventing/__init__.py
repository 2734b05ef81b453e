"""Events: what they are, how they travel, and how each one surely gets its answer.

Belongs here: the CloudEvent value, its codecs for Kafka and HTTP, publishing, dispatching to a sink over HTTP,
retries, results, dead letters. Does not belong here: models and tensors, Kubernetes, the broker itself. Only
``headrace.eventing.kafka`` imports a Kafka client; the values and codecs do no I/O.

Source of the rules: CloudEvents 1.0.2 with its Kafka and HTTP bindings, and docs/architecture/03-event-contract.md.
"""
