"""The client side of a Grape's HTTP API: what `grenache-nodejs-link` is for Node."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any, Self

import aiohttp

from dhtex.errors import NotRunning
from dhtex.grenache.errors import GrapeError, ServiceUnreachable, reason

REQUEST_S = 2.5
"""Seconds a Grape may take, as in the Node client."""

ATTEMPTS = 3
ANSWER_MAX = 1 << 20
"""Bytes of an answer; an honest one has a few thousand."""


class Link:
    """Talks to one Grape. `async with`; several calls at once are fine."""

    def __init__(self, grape: str, *, timeout_s: float = REQUEST_S) -> None:
        """A link that is not open yet.

        Args:
            grape: `http://127.0.0.1:30001`; the scheme may be left out.
            timeout_s: seconds for one request; it is made up to three times.
        """
        self._grape = (grape if "://" in grape else f"http://{grape}").rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=self._timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    async def request(self, method: str, data: Any) -> Any:
        """The Grape's answer to one call.

        Raises:
            ServiceUnreachable: the Grape gave no answer, three times.
            GrapeError: it answered with an error.
        """
        if self._http is None:
            raise NotRunning("the link is not open; use it inside its `async with`")
        body = json.dumps({"rid": "dhtex", "data": data}).encode()
        for attempt in range(ATTEMPTS):
            try:
                async with self._http.post(f"{self._grape}/{method}", data=body) as response:
                    answer = await read_whole(response.content, ANSWER_MAX)
                    if answer is None:
                        raise GrapeError(f"its answer has more than {ANSWER_MAX} bytes", response.status)
                    return _parse(answer, response.status)
            except (aiohttp.ClientError, TimeoutError) as error:
                if attempt == ATTEMPTS - 1:
                    raise ServiceUnreachable(
                        f"the Grape at {self._grape} does not answer: {reason(error)}"
                    ) from error
        raise AssertionError  # pragma: no cover  # the last attempt returned or raised

    async def announce(self, name: str, port: int) -> None:
        """Announce a service at the Grape's host; lives for the Grape's `--dpa`, so repeat it."""
        await self._expect_count("announce", [name, port])

    async def unannounce(self, name: str, port: int) -> None:
        """Take an announcement back; the original Grape does not know how and raises `GrapeError`."""
        await self._expect_count("unannounce", [name, port])

    async def _expect_count(self, method: str, data: Any) -> None:
        answer = await self.request(method, data)
        if not isinstance(answer, int):  # how many Grapes took it
            raise GrapeError(str(answer), 200)

    async def lookup(self, name: str) -> list[str]:
        """The addresses of a service, `"127.0.0.1:1337"` each."""
        answer = await self.request("lookup", name)
        if not isinstance(answer, list) or not all(isinstance(address, str) for address in answer):
            raise GrapeError(str(answer), 200)
        return answer

    async def keep_announcing(self, name: str, port: int, every_s: float) -> None:
        """Announce now and every *every_s* seconds, until cancelled; a Grape that is away is tried again."""
        while True:
            try:
                await self.announce(name, port)
            except (ServiceUnreachable, GrapeError):
                await asyncio.sleep(min(1.0, every_s))
            else:
                await asyncio.sleep(every_s)


async def read_whole(content: aiohttp.StreamReader, size_max: int) -> bytes | None:
    """A body to its end, in however many pieces it comes; None when it has more than *size_max* bytes."""
    body = bytearray()
    async for piece in content.iter_any():
        body += piece
        if len(body) > size_max:
            return None
    return bytes(body)


def _parse(answer: bytes, status: int) -> Any:
    try:
        value = json.loads(answer) if answer else None
    except ValueError:
        value = answer.decode("utf-8", "replace")
    if status != 200:
        raise GrapeError(str(value), status)
    return value
