"""KServe's own client to a predictor, with Headrace's way of asking beneath it.

A transformer that is a plain ``kserve.Model`` asks by ``kserve.Model.predict``, over httpx: milliseconds of CPU a
request once some dozens are under way, since its pool looks through all that wait for each that ends. The interface
and the exceptions stay KServe's and httpx's; the bytes go over aiohttp, requests of one turn of the loop together.
"""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import orjson

from headrace.errors import DeadlineExceededError
from headrace.models import tensors
from headrace.models.kserve_api import InferenceRESTClient, InferRequest, Model, RESTConfig
from headrace.telemetry import tracing
from headrace.transformers import forwarding
from headrace.transformers.base import Transformer
from headrace.transformers.bundling import Bundler
from headrace.transformers.client import RETRIES
from headrace.transformers.faults import PredictorFailedError
from headrace.transformers.posting import Answer, Poster
from headrace.transformers.retries import Budget, NoAnswerError, Retries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.models.kserve_api import InferResponse, PredictorConfig

_V1 = "v1"


def give_client(model: Any, config: PredictorConfig) -> RestClient | None:
    """Let a model that leaves ``predict`` to KServe ask its predictor by :class:`RestClient`, which its server closes.

    Nothing is done where the model has a client of its own, or speaks gRPC or TLS: KServe's client knows the cluster's
    certificates.
    """
    own = type(model)
    is_plain = isinstance(model, Model) and not isinstance(model, Transformer)
    if not is_plain or own._http_client is not Model._http_client:  # noqa: SLF001  # KServe's seam for it
        return None
    if config.use_ssl or config.protocol.startswith("grpc") or getattr(model, "_http_client_instance", None):
        return None
    client = RestClient(config)
    model._http_client_instance = client  # noqa: SLF001  # where KServe looks for it first
    return client


class RestClient(InferenceRESTClient):
    """Asks one predictor. Belongs to the event loop that it is first used on.

    Args:
        config: Where the predictor is, and how long it may take.
    """

    def __init__(self, config: PredictorConfig) -> None:
        # Not KServe's own: it makes an httpx client, which reads the certificates of the world.
        self._config = RESTConfig(protocol=config.protocol, timeout=config.timeout, retries=config.retries)
        self._base_url: str = config.predictor_base_url
        self._poster = Poster(self._base_url, timeout=float(config.timeout))
        self._bundler = Bundler(self._poster)
        self._retries = Retries(int(config.retries) or RETRIES, Budget())

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        """Of KServe's other methods."""
        return httpx.AsyncClient(timeout=self._config.timeout)

    async def infer(  # noqa: PLR0917  # KServe's signature
        self,
        base_url: httpx.URL | str,
        data: InferRequest | dict[str, Any],
        model_name: str | None = None,
        headers: Mapping[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
        is_graph_endpoint: bool = False,  # noqa: FBT001, FBT002
        timeout: Any = httpx.USE_CLIENT_DEFAULT,
    ) -> InferResponse | dict[str, Any]:
        """As KServe's own.

        Raises:
            httpx.HTTPStatusError: the predictor refused.
            httpx.TransportError: it does not answer, or not in time.
        """
        if is_graph_endpoint or model_name is None or str(base_url) != self._base_url or not _is_plain(timeout):
            return await super().infer(
                base_url, data, model_name, headers, response_headers, is_graph_endpoint, timeout
            )
        verb = ":predict" if self._config.protocol == _V1 else "/infer"
        path = f"/{self._config.protocol}/models/{quote(model_name, safe='')}{verb}"
        kind, body = _written(data)
        answer = await self._traced(path, body, {**_lower(headers), **kind}, timeout)
        if response_headers is not None:
            response_headers.update(_lower(answer.headers))
        if self._config.protocol == _V1:
            return orjson.loads(answer.content)
        return tensors.load_response(answer.content, answer.headers.get(tensors.HEADER_LENGTH))

    async def close(self) -> None:
        """Close the connections."""
        await self._poster.close()
        if "_client" in vars(self):
            await self._client.aclose()

    async def _traced(self, path: str, body: bytes, headers: dict[str, str], timeout: Any) -> Answer:
        context = forwarding.caller_context(headers)
        span = forwarding.start_span(context, {"http.request.method": "POST", "url.full": f"{self._base_url}{path}"})
        with tracing.recorded(span):
            headers = headers | forwarding.trace_headers(span, context)
            answer = await self._asked(path, body, headers, timeout)
            span.set_attribute("http.response.status_code", answer.status)
            if httpx.codes.is_success(answer.status):
                return answer
            request = httpx.Request("POST", f"{self._base_url}{path}")
            told = httpx.Response(
                answer.status, headers=_lower(answer.headers), content=answer.content, request=request
            )
            raise self._construct_http_status_error(told)

    async def _asked(self, path: str, body: bytes, headers: dict[str, str], timeout: Any) -> Answer:
        seconds = timeout if isinstance(timeout, (int, float)) else self._poster.timeout
        ends = asyncio.get_running_loop().time() + seconds
        try:
            answer: Answer = await self._retries.run(lambda: self._bundler.post(path, body, headers, ends))
        except DeadlineExceededError as fault:
            raise httpx.ReadTimeout(str(fault)) from fault
        except NoAnswerError as fault:
            raise httpx.ConnectError(str(fault)) from fault
        except PredictorFailedError as fault:
            raise httpx.RemoteProtocolError(str(fault)) from fault
        return answer


def _is_plain(timeout: Any) -> bool:
    """Whether this is the client's own, or a number of seconds; httpx has more."""
    return timeout is httpx.USE_CLIENT_DEFAULT or isinstance(timeout, (int, float))


def _lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (headers or {}).items()}


def _written(data: Any) -> tuple[dict[str, str], bytes]:
    """The body, and the headers that say what it is; what is bytes already stays what its caller says it is."""
    if isinstance(data, InferRequest):
        data, length = data.to_rest()  # JSON or raw, as the model's author chose: not every server reads raw tensors
        if length:
            return {"content-type": tensors.OCTETS, tensors.HEADER_LENGTH: str(length)}, data
    return {}, orjson.dumps(data) if isinstance(data, dict) else data
