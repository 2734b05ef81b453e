"""What a model class and the server that hosts it agree on.

Belongs here: kserve's own types behind a safe import, the tensor codec of the Open Inference Protocol, the batching
hooks, where a model's files come from. Does not belong here: any model, any server, torch.
"""
