"""`/stream`: a WebSocket that tells the book as it is, then everything that happens."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from aiohttp import WSCloseCode, WSMsgType, web

from dhtex.gateway.answers import Refusal, dump
from dhtex.gateway.feed import READERS_MAX, Feed, Reader
from dhtex.peer import Peer
from dhtex.peer.fields import depth_fields

HEARTBEAT_S: Final = 20.0
"""A client that does not answer a ping within half of this is gone."""
FAREWELL_S: Final = 5.0
"""How long a client has to take the last words."""
MESSAGE_BYTES_MAX: Final = 1_024
"""A client has nothing to say; what it says all the same is read and thrown away."""

_ENDS: Final = frozenset({WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR})


async def serve_stream(request: web.Request, peer: Peer, feed: Feed, levels: int) -> web.WebSocketResponse:
    """One client, from the snapshot to the close.

    Raises:
        Refusal: 426, not a WebSocket; 503, there are too many readers.
    """
    socket = web.WebSocketResponse(
        heartbeat=HEARTBEAT_S, timeout=FAREWELL_S, max_msg_size=MESSAGE_BYTES_MAX, compress=False
    )
    if not socket.can_prepare(request):
        raise Refusal(426, "websocket", "the stream is a WebSocket; connect with a WebSocket client")
    if len(feed) >= READERS_MAX:
        raise Refusal(503, "busy", f"{READERS_MAX} clients read the stream already; close one, or try later")
    await socket.prepare(request)
    async with feed.reader() as reader:
        snapshot = dump(
            {
                "type": "snapshot",
                "market": peer.spec.symbol,
                "position": peer.position().number,
                **depth_fields(peer.book.depth(levels)),
            }
        )
        await _talk(socket, reader, snapshot)
        await _part(request, socket, reader)
    return socket


async def _talk(socket: web.WebSocketResponse, reader: Reader, snapshot: str) -> None:
    """Send until the client leaves, is too slow, or there will be no more news."""
    tasks: list[asyncio.Task[Any]] = [
        asyncio.create_task(_send(socket, reader, snapshot)),
        asyncio.create_task(_listen(socket)),
        asyncio.create_task(reader.slow.wait()),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _send(socket: web.WebSocketResponse, reader: Reader, snapshot: str) -> None:
    await socket.send_str(snapshot)
    async for text in reader.texts():
        await socket.send_str(text)


async def _listen(socket: web.WebSocketResponse) -> None:
    while (await socket.receive()).type not in _ENDS:
        pass


async def _part(request: web.Request, socket: web.WebSocketResponse, reader: Reader) -> None:
    """Say why, if the client still takes anything, and close."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(FAREWELL_S):
            if reader.slow.is_set():
                sentence = "you read slower than the market moves, and missed something; connect again"
                await socket.send_str(dump({"type": "error", "error": "fell_behind", "sentence": sentence}))
                await socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"fell behind")
            else:
                await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the gateway closes")
            return
    if request.transport is not None:
        request.transport.abort()  # an ordinary close would wait until the client has taken everything
