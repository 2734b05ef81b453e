"""The part of kserve that Headrace hosts and speaks, behind a safe import.

Importing kserve parses ``sys.argv`` at import and exits the process with status 2 on a flag that it half knows
(``--workers many``, ``--grpc no``). Here it sees an empty command line. Import kserve through this module only.
"""

from __future__ import annotations

from headrace.models import kserve_import

kserve_import.enter()

# ruff: noqa: E402  # only behind the line above
from kserve.context import get_predictor_config, set_predictor_config
from kserve.errors import InferenceError, InvalidInput, ModelNotFound, ModelNotReady
from kserve.inference_client import InferenceRESTClient, RESTConfig
from kserve.metrics import POST_HIST_TIME, PRE_HIST_TIME, PREDICT_HIST_TIME
from kserve.model import BaseKServeModel, InferenceVerb, Model
from kserve.predictor_config import PredictorConfig
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services
from kserve.protocol.infer_type import InferInput, InferOutput, InferRequest, InferResponse, RequestedOutput

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
    "InferenceRESTClient",
    "InferenceVerb",
    "InvalidInput",
    "Model",
    "ModelNotFound",
    "ModelNotReady",
    "PredictorConfig",
    "RESTConfig",
    "RequestedOutput",
    "get_predictor_config",
    "messages",
    "services",
    "set_predictor_config",
]
