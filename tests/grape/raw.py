"""An HTTP client that sees every byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RawResponse:
    """One response as it came: `length` is None where the connection's end is the end of the body."""

    status: int
    headers: dict[str, str]
    body: bytes
    interim: tuple[int, ...] = ()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, address: str | None) -> RawClient:
        assert address is not None
        host, _, port = address.rpartition(":")
        return cls(*await asyncio.open_connection(host.strip("[]"), int(port)))

    async def __aenter__(self) -> RawClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def response(self, *, is_head: bool = False) -> RawResponse:
        interim: list[int] = []
        while True:
            head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).decode("latin-1")
            first, *lines = head[:-4].split("\r\n")
            status = int(first.split(" ")[1])
            if status != 100:
                break
            interim.append(status)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if is_head:
            body = b""
        elif "content-length" in headers:
            body = await self.reader.readexactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int((await self.reader.readline()).strip(), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readline()
            await self.reader.readline()
        else:
            body = await asyncio.wait_for(self.reader.read(), 20)
        return RawResponse(status, headers, body, tuple(interim))

    async def is_closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(1), 20) == b""


def post_bytes(
    path: str, body: bytes, *, headers: bytes = b"", method: str = "POST", version: str = "1.1"
) -> bytes:
    return (
        f"{method} {path} HTTP/{version}\r\nHost: grape\r\nContent-Length: {len(body)}\r\n".encode()
        + headers
        + b"\r\n"
        + body
    )


async def post(address: str | None, path: str, data: Any) -> RawResponse:
    """One request on a connection of its own."""
    async with await RawClient.open(address) as client:
        client.send(post_bytes(path, json.dumps({"rid": "x", "data": data}).encode()))
        return await client.response()
