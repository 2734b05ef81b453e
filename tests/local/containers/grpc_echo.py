"""A gRPC server's stand-in: any method is echoed; what the call's metadata says it does first.

Metadata ``x-delay``: seconds before the answer; ``x-abort``: ends with that status code. A method ``.../Stream``
answers each message of a stream. JOURNAL: a file with a line a call.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import grpc

JOURNAL = os.environ.get("JOURNAL")


class Echo(grpc.GenericRpcHandler):
    """Answers every method."""

    def service(self, call: Any) -> Any:
        """By the method's name."""
        if call.method.endswith("/Stream"):
            return grpc.stream_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)


def journal(request: bytes) -> None:
    """A line in the journal, if there is one."""
    if JOURNAL:
        with Path(JOURNAL).open("a") as file:
            file.write(f"{request[:20].decode(errors='replace')}\n")


async def unary(request: bytes, context: Any) -> bytes:
    """The message back, with the method's metadata as trailers."""
    sent = dict(context.invocation_metadata())
    journal(request)
    await asyncio.sleep(float(sent.get("x-delay", "0")))
    if code := sent.get("x-abort"):
        await context.abort(grpc.StatusCode[code], "as asked")
    context.set_trailing_metadata((("x-request-id", sent.get("x-request-id", "")), ("x-mine", sent.get("x-mine", ""))))
    return request


async def stream(requests: Any, _: Any) -> Any:
    """Each message back."""
    async for message in requests:
        yield message


async def main() -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((Echo(),))
    server.add_insecure_port(f"127.0.0.1:{os.environ['PORT']}")
    await server.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await server.stop(1)


asyncio.run(main())
