"""Calling Grenache HTTP services."""

from __future__ import annotations

import asyncio
import random
import uuid
from types import TracebackType
from typing import Any, Self

import aiohttp

from dhtex.errors import MalformedMessage, NotRunning
from dhtex.grenache.envelope import BODY_MAX, COMPRESS_HEADER, pack, unpack
from dhtex.grenache.errors import ServiceError, ServiceNotFound, ServiceUnreachable, reason
from dhtex.grenache.link import Link, read_whole

REQUEST_S = 60.0
"""Seconds a service may take, as in the Node client."""

CACHE_S = 10.0
"""Seconds the addresses of a service are remembered, as in the Node link."""


class GrenacheClient:
    """Finds services through one Grape and calls them. `async with`; several calls at once are fine."""

    def __init__(self, grape: str, *, cache_s: float = CACHE_S) -> None:
        """A client that is not open yet.

        Args:
            grape: the Grape's HTTP API, `http://127.0.0.1:30001`.
            cache_s: seconds addresses are remembered; a call that fails forgets them.
        """
        self._link = Link(grape)
        self._cache_s = cache_s
        self._known: dict[str, tuple[float, list[str]]] = {}
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        await self._link.__aenter__()
        self._http = aiohttp.ClientSession()
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
        await self._link.__aexit__(kind, error, traceback)

    async def request(
        self, name: str, payload: Any, *, timeout_s: float = REQUEST_S, compress: bool = False
    ) -> Any:
        """The answer of one instance of service *name*; the others are tried when it cannot be reached.

        Args:
            payload: any JSON value.
            timeout_s: seconds for each instance tried.
            compress: gzip both ways.
        Raises:
            ServiceNotFound: nobody announces *name*.
            ServiceError: the service answered with an error.
            ServiceUnreachable: no instance answered.
            TypeError, ValueError: *payload* is no JSON value.
        """
        addresses = await self._addresses(name)
        unreachable: ServiceUnreachable | None = None
        for address in random.sample(addresses, len(addresses)):
            try:
                return await self._call(address, name, payload, timeout_s, compress=compress)
            except ServiceUnreachable as error:
                self._known.pop(name, None)
                unreachable = error
        raise unreachable or ServiceNotFound(f"nobody announces {name}")

    async def map(
        self, name: str, payload: Any, *, timeout_s: float = REQUEST_S, compress: bool = False
    ) -> list[Any]:
        """The answers of every instance of *name*; empty when there is none.

        Raises:
            ServiceError, ServiceUnreachable: one of them failed.
            TypeError, ValueError: *payload* is no JSON value.
        """
        try:
            addresses = await self._addresses(name)
        except ServiceNotFound:
            return []
        calls = (self._call(address, name, payload, timeout_s, compress=compress) for address in addresses)
        return list(await asyncio.gather(*calls))

    async def _addresses(self, name: str) -> list[str]:
        now_s = asyncio.get_running_loop().time()
        until_s, addresses = self._known.get(name, (0.0, []))
        if until_s > now_s:
            return addresses
        addresses = await self._link.lookup(name)
        if not addresses:
            raise ServiceNotFound(f"nobody announces {name}; start the service, or wait for its announcement")
        self._known[name] = (now_s + self._cache_s, addresses)
        return addresses

    async def _call(self, address: str, name: str, payload: Any, timeout_s: float, *, compress: bool) -> Any:
        if self._http is None:
            raise NotRunning("the client is not open; use it inside its `async with`")
        rid = str(uuid.uuid4())
        try:
            async with self._http.post(
                f"http://{address}/",
                data=pack(rid, name, payload, compress=compress),
                headers={COMPRESS_HEADER: "gzip" if compress else "none"},
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                body = await read_whole(response.content, BODY_MAX)
                if body is None:
                    raise ServiceError(f"{name} at {address} answered with more than {BODY_MAX} bytes")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServiceUnreachable(f"{name} at {address} does not answer: {reason(error)}") from error
        try:
            answered_rid, failure, result = unpack(body, compressed=compress)
        except MalformedMessage as error:
            raise ServiceError(f"{name} at {address} answered no envelope ({error})") from error
        if failure is not None:
            raise ServiceError(str(failure))
        if answered_rid != rid:
            raise ServiceError(f"{name} at {address} answered another request")
        return result
