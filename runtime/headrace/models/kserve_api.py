"""The part of kserve that Headrace hosts and speaks, behind a safe import.

Importing kserve parses ``sys.argv`` at import and exits the process with status 2 on a flag that it half knows
(``--workers many``, ``--grpc no``). Here it sees an empty command line. Import kserve through this module only.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def _empty_command_line() -> Iterator[None]:
    kept = sys.argv
    sys.argv = kept[:1]
    try:
        yield
    finally:
        sys.argv = kept


with _empty_command_line():
    from kserve import InferInput, InferOutput, InferRequest, InferResponse, Model
    from kserve.context import get_predictor_config, set_predictor_config
    from kserve.errors import InferenceError, InvalidInput, ModelNotFound, ModelNotReady
    from kserve.metrics import POST_HIST_TIME, PRE_HIST_TIME, PREDICT_HIST_TIME
    from kserve.model import BaseKServeModel, InferenceVerb
    from kserve.predictor_config import PredictorConfig
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
    from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services
    from kserve.protocol.infer_type import RequestedOutput

__all__ = [
    "POST_HIST_TIME",
    "PREDICT_HIST_TIME",
    "PRE_HIST_TIME",
    "BaseKServeModel",
    "InferInput",
    "InferOutput",
    "InferRequest",
    "InferResponse",
    "InferenceError",
    "InferenceVerb",
    "InvalidInput",
    "Model",
    "ModelNotFound",
    "ModelNotReady",
    "PredictorConfig",
    "RequestedOutput",
    "get_predictor_config",
    "messages",
    "services",
    "set_predictor_config",
]
