"""The driver on confluent-kafka (librdkafka, in C): the same behaviour, for many small records.

Here and nowhere else confluent-kafka is imported; it is an extra, so nothing outside imports this but
:func:`headrace.eventing.kafka.driver.driver_of`.
"""
