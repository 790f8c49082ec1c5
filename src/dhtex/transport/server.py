"""The answering side of a group: methods, who may call them, handlers in progress."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from dhtex.errors import MalformedMessage, RpcError
from dhtex.identity import PublicKey
from dhtex.transport.codec import METHOD_CHARS_MAX, FrameEncoder, Request
from dhtex.transport.link import Link
from dhtex.transport.rpc import Verdict

logger = logging.getLogger(__name__)

RpcHandler = Callable[[PublicKey, list[Any]], Awaitable[Any] | Any]
"""Answers a request of *sender*, plain values to a plain value; raises `RpcError` to refuse. May be async."""


class Server:
    """Runs the handler of each request at most once and sends its answer."""

    def __init__(
        self,
        encoder: FrameEncoder,
        counters: Counter[str],
        stranger_methods: frozenset[str],
        send: Callable[[Link, bytes], None],
    ) -> None:
        """*send* takes an encoded answer on its way."""
        self._encoder = encoder
        self._counters = counters
        self._stranger_methods = stranger_methods
        self._send = send
        self._handlers: dict[str, RpcHandler] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def register(self, method: str, handler: RpcHandler) -> None:
        """See `Channel.register`."""
        if not 0 < len(method) <= METHOD_CHARS_MAX or method in self._handlers:
            raise ValueError(
                f"a method needs a name of its own of 1 to {METHOD_CHARS_MAX} characters, not {method!r}"
            )
        self._handlers[method] = handler

    def on_request(self, link: Link, request: Request) -> None:
        """A request arrived, for the first time or again."""
        handler = self._handlers.get(request.method)
        refusal: RpcError | None = None
        if not link.is_member and request.method not in self._stranger_methods:
            refusal = RpcError("not_member", "only members of the group may ask for this")
        elif handler is None:
            refusal = RpcError("unknown_method", "this peer does not know the method")
        if handler is None or refusal is not None:
            self._counters["requests_refused"] += 1
            self._send(link, self._encoder.response(request.id, refusal, None))
            return
        verdict = link.answers.admit(request.id, link.budget.requests)
        if verdict is Verdict.EXECUTE:
            self._execute(link, request, handler)
        elif verdict is Verdict.BUSY:
            self._counters["requests_refused"] += 1
            self._answer(link, request.id, RpcError("busy", "too many requests are in progress"), None)
        elif verdict is Verdict.REPEAT:
            self._counters["answers_repeated"] += 1
            self._send(link, link.answers.answer(request.id))
        elif verdict is Verdict.FORGOTTEN:
            self._counters["requests_refused"] += 1
            error = RpcError("forgotten", "the request is too old to tell whether it was carried out")
            self._send(link, self._encoder.response(request.id, error, None))

    async def close(self) -> None:
        """Cancel the handlers in progress and wait for their end; not for the one that is closing us, if one is."""
        others = self._tasks - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _execute(self, link: Link, request: Request, handler: RpcHandler) -> None:
        try:
            result = handler(link.public_key, request.params)
        except Exception as error:  # whatever a handler raises ends as an answer, see _refusal
            self._answer(link, request.id, self._refusal(request.method, error), None)
            return
        if inspect.isawaitable(result):
            task = asyncio.get_running_loop().create_task(self._finish(link, request, result))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._answer(link, request.id, None, result)

    async def _finish(self, link: Link, request: Request, pending: Awaitable[Any]) -> None:
        try:
            result = await pending
        except Exception as error:  # see _execute
            self._answer(link, request.id, self._refusal(request.method, error), None)
        else:
            self._answer(link, request.id, None, result)

    def _refusal(self, method: str, error: Exception) -> RpcError:
        if isinstance(error, RpcError):
            return error
        if isinstance(error, MalformedMessage):
            return RpcError("params", str(error))
        self._counters["handler_failed"] += 1
        logger.error("the handler of method %s failed", method, exc_info=error)
        return RpcError("internal", "the peer failed to carry out the request")

    def _answer(self, link: Link, call_id: int, error: RpcError | None, result: Any) -> None:
        try:
            frame = self._encoder.response(call_id, error, result)
        except (ValueError, TypeError, OverflowError) as unsendable:
            frame = self._encoder.response(call_id, self._refusal("?", unsendable), None)
        link.answers.remember(call_id, frame)
        self._send(link, frame)
