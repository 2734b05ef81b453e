"""The Open Inference Protocol over gRPC."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import grpc
import numpy as np
import pytest

from headrace.errors import InvalidInputError, OverloadedError, PermanentError
from headrace.models import rpc_tensors, tensors
from headrace.models.kserve_api import InferRequest, InvalidInput, Model, messages, services
from headrace.serving.rpc import PUSHBACK, RpcServer

if TYPE_CHECKING:
    from collections.abc import Callable


class Tripler(Model):
    """Triples its tensor; tells of the headers; raises what the tensor's name says."""

    raises: ClassVar[dict[str, Exception]] = {
        "kserve": InvalidInput("bad"),
        "ours": InvalidInputError("bad"),
        "full": OverloadedError("full", retry_after=2.5),
        "never": PermanentError("never"),
        "crash": ZeroDivisionError("secret"),
        "lacking": NotImplementedError("not here"),
    }

    def get_input_types(self) -> list[dict[str, Any]]:
        """One tensor."""
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]

    def predict(self, payload: InferRequest, headers: Any = None) -> Any:
        """Answer in the protocol's own types."""
        tensor = payload.inputs[0]
        if tensor.name in self.raises:
            raise self.raises[tensor.name]
        if tensor.name == "headers":
            return {"model_name": "m", "id": "1", "outputs": [
                {"name": "h", "datatype": "BYTES", "shape": [1], "data": [headers["x-request-id"]]}
            ]}  # fmt: skip
        array = tensor.as_numpy()
        tripled = array if array.dtype.kind == "O" else array * 3
        return tensors.new_response(self.name, {"y": tripled}, response_id=payload.id)


@pytest.fixture
def called(serving: Callable[..., Any]) -> Callable[..., Any]:
    """Runs ``use(stub, server)`` against the gRPC port of a server of a model."""

    def run(model: Any, use: Callable[..., Any]) -> Any:
        async def within(server: Any) -> Any:
            rpc = RpcServer(server.front, 1 << 20)
            await rpc.open("127.0.0.1", 0)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{rpc.port}") as channel:
                try:
                    return await use(services.GRPCInferenceServiceStub(channel), server)
                finally:
                    await rpc.close(0)

        return serving(model, within)

    return run


def request(name: str = "x", array: Any = None) -> Any:
    values = np.array([[1, 2]], dtype=np.float32) if array is None else array
    return rpc_tensors.dump_request(tensors.new_request("m", {name: values}, request_id="7"))


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, -2]], dtype=np.float32),
        np.array([1, 2**62], dtype=np.int64),
        np.array([1, 200], dtype=np.uint8),
        np.array([0.5], dtype=np.float16),
        np.array([b"\xff", b"a"], dtype=np.object_),
        np.zeros((0, 3), dtype=np.float64),
    ],
    ids=lambda array: str(array.dtype),
)
def test_raw_tensors_both_ways(called: Callable[..., Any], array: Any) -> None:
    """Every type goes and comes back as raw bytes, under the request's id."""

    async def use(stub: Any, _server: Any) -> Any:
        return await stub.ModelInfer(request("x", array))

    answer = called(Tripler("m"), use)
    assert answer.id == "7"
    assert len(answer.raw_output_contents) == 1
    back = rpc_tensors.load_response(answer).outputs[0].as_numpy()
    assert back.dtype == array.dtype
    assert back.tolist() == (array if array.dtype.kind == "O" else array * 3).tolist()


@pytest.mark.parametrize(
    ("datatype", "field", "values", "back"),
    [
        ("FP32", "fp32_contents", [1.0, 2.0], [3.0, 6.0]),
        ("INT32", "int_contents", [1, -2], [3, -6]),
        ("UINT64", "uint64_contents", [1, 2], [3, 6]),
        ("BYTES", "bytes_contents", [b"a", b"\xff"], [b"a", b"\xff"]),
    ],
)
def test_typed_contents_both_ways(
    called: Callable[..., Any], datatype: str, field: str, values: list[Any], back: list[Any]
) -> None:
    """A request with typed contents is answered with typed contents."""
    contents = {field: values}
    tensor = {"name": "x", "datatype": datatype, "shape": [2], "contents": contents}

    async def use(stub: Any, _server: Any) -> Any:
        return await stub.ModelInfer(messages.ModelInferRequest(model_name="m", inputs=[tensor]))

    answer = called(Tripler("m"), use)
    assert not answer.raw_output_contents
    assert list(getattr(answer.outputs[0].contents, field)) == back


@pytest.mark.parametrize(
    ("name", "status", "told"),
    [
        ("kserve", grpc.StatusCode.INVALID_ARGUMENT, "bad"),
        ("ours", grpc.StatusCode.INVALID_ARGUMENT, "bad"),
        ("full", grpc.StatusCode.RESOURCE_EXHAUSTED, "full"),
        ("never", grpc.StatusCode.INVALID_ARGUMENT, "never"),
        ("crash", grpc.StatusCode.INTERNAL, "Internal server error"),
        ("lacking", grpc.StatusCode.UNIMPLEMENTED, "not here"),
    ],
)
def test_errors_have_their_status(called: Callable[..., Any], name: str, status: Any, told: str) -> None:
    """What a model raises is a status and a reason; a crash keeps its text to itself, a full queue says when."""

    async def use(stub: Any, _server: Any) -> Any:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ModelInfer(request(name))
        return caught.value

    fault = called(Tripler("m"), use)
    assert (fault.code(), fault.details()) == (status, told)
    assert dict(fault.trailing_metadata() or {}).get(PUSHBACK) == ("2500" if name == "full" else None)


def broken(change: Callable[[Any], Any]) -> Any:
    message = request()
    change(message)
    return message


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (broken(lambda m: m.inputs[0].shape.append(2)), "'x'"),
        (broken(lambda m: m.raw_input_contents.append(b"")), "number of inputs"),
        (broken(lambda m: m.inputs[0].contents.fp32_contents.append(1)), "contents field"),
        (broken(lambda m: setattr(m.inputs[0], "datatype", "FP7")), "FP7"),
        (broken(lambda m: m.ClearField("raw_input_contents")), "'x'"),
    ],
)
def test_a_malformed_request_is_refused_by_name(called: Callable[..., Any], message: Any, told: str) -> None:
    """Shapes, types and contents that do not agree are the caller's fault, and never reach the model."""

    async def use(stub: Any, _server: Any) -> Any:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ModelInfer(message)
        return caught.value

    fault = called(Tripler("m"), use)
    assert fault.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert told in fault.details()


def test_what_is_asked_of_a_server(called: Callable[..., Any]) -> None:
    """Health and metadata of the server and of its models; an unknown model is NOT_FOUND."""

    async def use(stub: Any, _server: Any) -> None:
        assert (await stub.ServerLive(messages.ServerLiveRequest())).live
        assert (await stub.ServerReady(messages.ServerReadyRequest())).ready
        assert (await stub.ModelReady(messages.ModelReadyRequest(name="m"))).ready
        server = await stub.ServerMetadata(messages.ServerMetadataRequest())
        assert server.name == "headrace"
        assert "binary_tensor_data" in server.extensions
        model = await stub.ModelMetadata(messages.ModelMetadataRequest(name="m"))
        assert [list(tensor.shape) for tensor in model.inputs] == [[-1, 2]]
        for asked in (stub.ModelReady(messages.ModelReadyRequest(name="n")), stub.ModelInfer(
            messages.ModelInferRequest(model_name="n")
        )):  # fmt: skip
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asked
            assert caught.value.code() == grpc.StatusCode.NOT_FOUND

    called(Tripler("m"), use)


def test_calls_are_counted_by_code(called: Callable[..., Any]) -> None:
    """What was answered, and with which code, is on the page that Prometheus reads."""

    async def use(stub: Any, server: Any) -> str:
        await stub.ModelInfer(request())
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.ModelInfer(request("full"))
        return str((await server.ask("GET", "/metrics")).body.decode())

    page = called(Tripler("m"), use)
    assert 'headrace_grpc_calls_total{code="OK",method="ModelInfer"} 1.0' in page
    assert 'headrace_grpc_calls_total{code="RESOURCE_EXHAUSTED",method="ModelInfer"} 1.0' in page


def test_a_model_that_is_not_ready_is_unavailable(called: Callable[..., Any]) -> None:
    """UNAVAILABLE with a reason while it loads and while the server stops: a caller comes again."""

    async def use(stub: Any, server: Any) -> list[Any]:
        found = []
        server.hosted.model.ready = False
        found.append((await stub.ModelReady(messages.ModelReadyRequest(name="m"))).ready)
        for hinder in ("model", "loading", "draining"):
            application = server.front.application
            server.hosted.model.ready = hinder != "model"
            server.front.draining = hinder == "draining"
            server.front.application = None if hinder == "loading" else application
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ModelInfer(request())
            found.append(caught.value.code())
            server.front.application = application
        return found

    unavailable = grpc.StatusCode.UNAVAILABLE
    assert called(Tripler("m"), use) == [False, unavailable, unavailable, unavailable]


def test_metadata_reach_the_model_as_headers(called: Callable[..., Any]) -> None:
    """A model may answer a dict in the form of v2, as under KServe."""

    async def use(stub: Any, _server: Any) -> Any:
        return await stub.ModelInfer(request("headers"), metadata=(("x-request-id", "abc"),))

    answer = rpc_tensors.load_response(called(Tripler("m"), use))
    assert answer.outputs[0].as_numpy().tolist() == [b"abc"]


def test_a_call_is_counted_until_it_is_answered(called: Callable[..., Any]) -> None:
    """The drain waits for calls as it does for HTTP requests; one whose caller gave up counts no more."""

    class Waiting(Model):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.begun = asyncio.Event()

        async def predict(self, payload: Any, headers: Any = None) -> Any:
            self.begun.set()
            await asyncio.Event().wait()

    async def use(stub: Any, server: Any) -> None:
        call = stub.ModelInfer(request())
        waiting = asyncio.ensure_future(call.wait_for_connection())
        await server.hosted.model.begun.wait()
        assert server.front.in_flight == 1
        call.cancel()
        while server.front.in_flight:  # noqa: ASYNC110  # told by no event
            await asyncio.sleep(0.001)
        await asyncio.gather(waiting, return_exceptions=True)

    called(Waiting("m"), use)
