"""First contact: discovery yields an address, HELLO finds out which key listens there.

Nothing is believed of a HELLO and nothing is kept of one; an answer counts only with our cookie, from the
address asked.

Source: `design: transport, First contact`.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import dataclass

from dhtex.errors import DhtexError, MalformedMessage, RpcTimeout
from dhtex.identity import NodeId, PublicKey, node_id_of
from dhtex.transport.address import Address
from dhtex.transport.datagram import COOKIE_SIZE, Datagram, decode_hello_answer, encode_hello
from dhtex.transport.rpc import JITTER, RETRY_MAX

RETRY_FIRST = 0.2  # seconds; doubles with every repetition


@dataclass(frozen=True, slots=True)
class HelloAnswer:
    """Who says to listen at an address. A claim: only a box that opens proves a key."""

    public_key: PublicKey
    node_id: NodeId
    view_number: int
    address: Address


@dataclass(frozen=True, slots=True)
class _Question:
    group_id: bytes
    address: Address
    answer: asyncio.Future[HelloAnswer]


class Greeter:
    """The HELLOs of one endpoint that have no answer yet."""

    def __init__(
        self, public_key: PublicKey, transmit: Callable[[bytes, Address], None], rng: random.Random
    ) -> None:
        self._public_key = public_key
        self._transmit = transmit
        self._random = rng
        self._questions: dict[bytes, _Question] = {}  # by cookie

    def __len__(self) -> int:
        return len(self._questions)

    async def ask(self, group_id: bytes, address: Address, timeout: float) -> HelloAnswer:
        """Ask until somebody answers.

        Args:
            address: with a numeric host.
            timeout: seconds.
        Raises:
            RpcTimeout: nobody did in time.
        """
        cookie = os.urandom(COOKIE_SIZE)
        hello = encode_hello(group_id, self._public_key, cookie)
        answer: asyncio.Future[HelloAnswer] = asyncio.get_running_loop().create_future()
        self._questions[cookie] = _Question(group_id, address, answer)
        delay = RETRY_FIRST
        try:
            async with asyncio.timeout(timeout):
                while True:
                    self._transmit(hello, address)
                    pause = delay * self._random.uniform(1 - JITTER, 1 + JITTER)
                    await asyncio.wait((answer,), timeout=pause)
                    if answer.done():
                        return answer.result()
                    delay = min(2 * delay, RETRY_MAX)
        except TimeoutError:
            raise RpcTimeout(f"nobody of this group answered at {address[0]} port {address[1]}") from None
        finally:
            del self._questions[cookie]

    def on_answer(self, datagram: Datagram, source: Address) -> None:
        """An answer arrived.

        Raises:
            MalformedMessage: it is not one (`hello`), or not to a question of ours (`no_call`).
        """
        cookie, view_number = decode_hello_answer(datagram.body)
        question = self._questions.get(cookie)
        if question is None or question.address != source or question.group_id != datagram.group_id:
            raise MalformedMessage("no_call", "an answer to no HELLO of ours")
        if not question.answer.done():
            node_id = node_id_of(datagram.sender)
            question.answer.set_result(HelloAnswer(datagram.sender, node_id, view_number, source))

    def fail(self, error: DhtexError, group_id: bytes) -> None:
        """End the questions of a group with *error*."""
        for question in self._questions.values():
            if question.group_id == group_id and not question.answer.done():
                question.answer.set_exception(error)
