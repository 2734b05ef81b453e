"""Predictors: ``kserve.Model`` classes that run a network on tensors.

Belongs here: the torch base class, and ready-made models. Does not belong here: pictures, text or audio as people
send them; a transformer turns those into tensors. The only room that imports torch.
"""
