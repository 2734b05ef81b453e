"""The model server: hosts any ``kserve.Model`` behind HTTP and CloudEvents.

Belongs here: protocols, batching, execution off the event loop. Does not belong here: a particular model, and where
the events come from.
"""
