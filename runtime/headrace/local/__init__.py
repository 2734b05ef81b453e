"""The laptop twin: the manifests of the cluster, run as processes on this machine.

Belongs here: the embedded Kafka broker, ingress and activator, autoscaler, processes, the local trace store. Does
not belong here: anything that the cluster itself runs; that lives in the rooms below and is started from here.
"""
