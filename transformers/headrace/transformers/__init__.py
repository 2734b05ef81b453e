"""Transformers: ``kserve.Model`` classes between an event and a predictor.

Belongs here: turning data as people send it (pictures, text, audio) into tensors, calling the predictor, turning its
tensors into an answer that people read. Does not belong here: networks; no torch.
"""
