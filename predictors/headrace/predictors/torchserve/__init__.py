"""TorchServe's archives, served without TorchServe.

Belongs here: reading a ``.mar``, the part of TorchServe's Python interface that handlers are written against (``ts``),
and the predictor that runs a handler. Does not belong here: making a project of an archive, as ``headrace init`` does.
"""
