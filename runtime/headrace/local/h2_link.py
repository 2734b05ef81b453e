"""One HTTP/2 connection, of either side, as streams of a task's own: headers, data, trailers, with flow control.

hyper-h2 knows the protocol (frames, HPACK, windows); this gives it a socket and lets a task wait. gRPC needs nothing
else: its messages are data and its status is trailers, so that what speaks HTTP/2 passes without being understood.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    Headers = list[tuple[bytes, bytes]]

_WINDOW = 1 << 20
"""Bytes of one stream that may be on their way before the reader took them."""
_STREAMS = 1 << 16
"""Streams of a connection: the breakers bound them, not this."""


@dataclass(frozen=True, slots=True)
class Head:
    """Headers, at the beginning or as trailers."""

    headers: Headers
    end: bool = False
    """Whether they are the last of this side: gRPC takes its status only from such trailers."""


@dataclass(frozen=True, slots=True)
class Data:
    """A piece of the body."""

    content: bytes
    counted: int
    """Bytes of the window that it takes until it is read."""


@dataclass(frozen=True, slots=True)
class End:
    """The other side is done."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The stream is over before its end."""

    code: int
    """HTTP/2's error code."""
    lost: bool = False
    """Whether the connection itself is gone."""


Part = Head | Data | End | Broken


class Stream:
    """One request and its answer on a link; made by the link."""

    def __init__(self, link: Link, number: int) -> None:
        self.number = number
        self.link = link
        self.task: asyncio.Task[None] | None = None
        """Who works on it; cancelled when the other side breaks it off."""
        self._parts: asyncio.Queue[Part] = asyncio.Queue()
        self.sent_all = False

    async def next(self) -> Part:
        """What comes next; after `End` or `Broken` nothing does."""
        part = await self._parts.get()
        if isinstance(part, Data):
            self.link.took(self.number, part.counted)
        return part

    def came(self, part: Part) -> None:
        """Keep it for the reader."""
        self._parts.put_nowait(part)

    def head(self, headers: Headers, *, end: bool = False) -> None:
        """Send headers, or trailers where some were sent."""
        self.sent_all = end
        self.link.send_head(self.number, headers, end=end)

    async def data(self, content: bytes) -> None:
        """Send a piece, as the other side's window allows."""
        await self.link.send_data(self.number, content)

    def end(self) -> None:
        """Send no more."""
        if not self.sent_all:
            self.sent_all = True
            self.link.send_end(self.number)

    def reset(self, code: int = ErrorCodes.CANCEL) -> None:
        """Break it off."""
        self.sent_all = True
        self.link.reset(self.number, code)


class Link(asyncio.Protocol):
    """A connection.

    Args:
        client: Whether this side opens the streams.
        on_stream: Called with each stream that the other side opens, and its headers.
    """

    def __init__(self, *, client: bool, on_stream: Callable[[Stream, Headers], None] | None = None) -> None:
        self.closed = False
        """Whether no stream may be opened any more."""
        self._on_stream = on_stream
        # Headers pass as they are: neither side's mistakes are ours.
        self._h2 = H2Connection(
            H2Configuration(
                client_side=client,
                header_encoding=None,
                validate_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._h2.local_settings = Settings(
            client=client,
            initial_values={
                SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW,
                SettingCodes.MAX_CONCURRENT_STREAMS: _STREAMS,
                SettingCodes.ENABLE_PUSH: 0,
            },
        )
        self._streams: dict[int, Stream] = {}
        self._transport: asyncio.Transport | None = None
        self._moved = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to speak."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(16 * _WINDOW)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Sort what came."""
        try:
            events = self._h2.receive_data(data)
        except ProtocolError:
            self._flush()
            self.close()
            return
        for event in events:
            self._sort(event)
        self._moved.set()
        self._flush()

    def connection_lost(self, _: Exception | None) -> None:
        """Nothing goes on."""
        self.closed = True
        self._moved.set()
        self._writable.set()
        for stream in list(self._streams.values()):
            self._break(stream, Broken(ErrorCodes.CANCEL, lost=True))

    def pause_writing(self) -> None:
        """The socket is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It is not any more."""
        self._writable.set()

    def open(self, headers: Headers) -> Stream:
        """A new stream, whose headers are sent."""
        stream = Stream(self, self._h2.get_next_available_stream_id())
        self._streams[stream.number] = stream
        stream.head(headers)
        return stream

    def close(self) -> None:
        """Close the connection."""
        self.closed = True
        if self._transport is not None:
            self._transport.close()

    async def drain(self) -> None:
        """Wait until nobody works on a stream, having said that no more are taken."""
        self.closed = True
        if self._transport is not None and not self._transport.is_closing():
            self._h2.close_connection()
            self._flush()
        tasks = [stream.task for stream in self._streams.values() if stream.task]
        if tasks:
            await asyncio.wait(tasks)

    def send_head(self, number: int, headers: Headers, *, end: bool) -> None:
        """Send headers or trailers; to a stream that is over they go nowhere."""
        try:
            self._h2.send_headers(number, headers, end_stream=end)
        except ProtocolError:
            return
        self._flush()

    async def send_data(self, number: int, content: bytes) -> None:
        """Send as much as the windows allow, and wait for the rest of them."""
        rest = memoryview(content)
        while rest and number in self._streams and not self.closed_for(number):
            await self._writable.wait()
            try:
                room = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
                if room > 0:
                    self._h2.send_data(number, bytes(rest[:room]))
            except ProtocolError:
                return
            if room > 0:
                rest = rest[room:]
                self._flush()
            else:
                self._moved.clear()
                await self._moved.wait()

    def send_end(self, number: int) -> None:
        """End a stream from this side."""
        try:
            self._h2.end_stream(number)
        except ProtocolError:
            return
        self._flush()

    def reset(self, number: int, code: int) -> None:
        """Break a stream off."""
        self._streams.pop(number, None)
        try:
            self._h2.reset_stream(number, code)
        except ProtocolError:
            return
        self._flush()

    def took(self, number: int, counted: int) -> None:
        """Its reader took so many bytes: the other side may send as many."""
        try:
            self._h2.acknowledge_received_data(counted, number)
        except ProtocolError:
            return
        self._flush()

    def forget(self, stream: Stream) -> None:
        """It is over on both sides."""
        self._streams.pop(stream.number, None)

    def closed_for(self, number: int) -> bool:
        """Whether the connection of a stream is gone."""
        return number not in self._streams or self._transport is None or self._transport.is_closing()

    def _sort(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._begin(event)
        elif isinstance(event, ConnectionTerminated):
            self.closed = True
        elif stream := self._streams.get(getattr(event, "stream_id", 0) or 0):
            self._pass_on(stream, event)

    def _begin(self, event: RequestReceived) -> None:
        if self._on_stream is None or event.stream_id is None:
            return
        stream = Stream(self, event.stream_id)
        self._streams[event.stream_id] = stream
        self._on_stream(stream, list(event.headers or []))

    def _pass_on(self, stream: Stream, event: Event) -> None:
        if isinstance(event, ResponseReceived | TrailersReceived):
            stream.came(Head(list(event.headers or []), end=event.stream_ended is not None))
        elif isinstance(event, DataReceived):
            stream.came(Data(event.data or b"", event.flow_controlled_length or 0))
        elif isinstance(event, StreamEnded):
            stream.came(End())
        elif isinstance(event, StreamReset):
            self._streams.pop(stream.number, None)
            self._break(stream, Broken(int(event.error_code or 0)))

    def _break(self, stream: Stream, how: Broken) -> None:
        stream.came(how)
        if stream.task is not None:
            stream.task.cancel()

    def _flush(self) -> None:
        if self._transport is not None and not self._transport.is_closing() and (data := self._h2.data_to_send()):
            self._transport.write(data)
