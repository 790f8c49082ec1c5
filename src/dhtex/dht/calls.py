"""Requests to other nodes: sent, repeated, and ended by an answer, a refusal, a time-out or the end of the node.

    known call, address asked -> frame -> result -> waiting call

Whatever comes first ends a call, and nothing of it stays behind (3, 4, 8), but for a while the time of its
transmissions: an answer that comes after the time-out still tells who lives, and how long answers take.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dhtex.dht import methods, wire
from dhtex.dht.addresses import source_of
from dhtex.dht.face import Address
from dhtex.dht.timing import RESEND_AT, RoundTrips
from dhtex.errors import MalformedMessage, UsageError

CALLS_MAX = 4_096
"""Calls under way; more than a node's look-ups can start, so only a bug or abuse meets it."""

GIVEN_UP_MAX = 1_024
"""Calls remembered after their time-out, for an answer that still comes."""

TOKENS_HELD_MAX = 4_096
"""Tokens of others remembered; a forgotten one costs a padded question."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A checked reply: who answered (empty for a client), and what."""

    sender: bytes
    result: Any


Outcome = Answer | wire.Refusal | None
"""How a call ended; None is a time-out, an improper answer, or the end of the node."""


@dataclass(slots=True, eq=False)
class _Call:
    address: Address
    method: str
    args: tuple[Any, ...]
    future: asyncio.Future[Outcome]
    on_late: Callable[[], None] | None
    datagram: bytes = b""
    sent_s: list[float] = field(default_factory=list)
    tries: int = 0
    renewed_at: int = 0
    """The first transmission with the token that a refusal brought; 0 as long as none did."""
    timer: asyncio.TimerHandle | None = field(default=None)


class _GivenUp(NamedTuple):
    """What is remembered of a call after its time-out."""

    address: Address
    sent_s: tuple[float, ...]


class Calls:
    """The calls of one node."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sender: bytes,
        send: Callable[[bytes, Address], None],
        heard_from: Callable[[bytes, Address], None],
        counters: Counter[str],
    ) -> None:
        """No calls yet.

        Args:
            sender: the own id, empty for a client.
            send: takes a datagram and where it goes.
            heard_from: told of the id in every proper answer, and the address that was asked.
            counters: where to count what happens.
        """
        self._loop = loop
        self._sender = sender
        self._send = send
        self._heard_from = heard_from
        self._counters = counters
        self.round_trips = RoundTrips()
        self._calls: dict[bytes, _Call] = {}
        self._given_up: OrderedDict[bytes, _GivenUp] = OrderedDict()
        self._tokens_held: OrderedDict[Address, bytes] = OrderedDict()

    def __len__(self) -> int:
        """Calls under way."""
        return len(self._calls)

    def close(self) -> None:
        """End every call as one that got no answer."""
        for call in list(self._calls.values()):
            if not call.future.done():
                call.future.set_result(None)
        self._given_up.clear()

    # --- out ---

    def begin(
        self, address: Address, method: str, args: tuple[Any, ...], on_late: Callable[[], None] | None
    ) -> asyncio.Future[Outcome]:
        """See `Protocol.begin`."""
        future: asyncio.Future[Outcome] = self._loop.create_future()
        if len(self._calls) >= CALLS_MAX:
            self._counters["calls_overflow"] += 1
            future.set_result(None)
            return future
        call = _Call(address, method, args, future, on_late)
        call_id = secrets.token_bytes(wire.CALL_ID_SIZE)
        call.datagram = self._encode(call_id, call)
        if len(call.datagram) > wire.DATAGRAM_SIZE_MAX:
            raise UsageError(
                f"a request of {len(call.datagram)} bytes is over the limit of {wire.DATAGRAM_SIZE_MAX}"
            )
        self._calls[call_id] = call
        future.add_done_callback(lambda _: self._forget(call_id))
        self._try(call_id, call)
        return future

    def _encode(self, call_id: bytes, call: _Call) -> bytes:
        token = self._tokens_held.get(call.address, b"")
        message_id = b"%b%c" % (call_id, len(call.sent_s))
        return wire.encode_request(message_id, call.method, self._sender, token, call.args, pad=not token)

    def _try(self, call_id: bytes, call: _Call) -> None:
        wait_units = RESEND_AT[call.tries] - (RESEND_AT[call.tries - 1] if call.tries else 0)
        call.tries += 1
        self._transmit(call)
        wait_s = wait_units * self.round_trips.unit_s(source_of(call.address))
        call.timer = self._loop.call_later(wait_s, self._on_timer, call_id, call)

    def _transmit(self, call: _Call) -> None:
        datagram = wire.repeated(call.datagram, len(call.sent_s)) if call.sent_s else call.datagram
        call.sent_s.append(self._loop.time())
        self._send(datagram, call.address)

    def _on_timer(self, call_id: bytes, call: _Call) -> None:
        if call.future.done():
            return
        if call.tries == len(RESEND_AT):
            self._give_up(call_id, call)
            return
        if call.on_late is not None:
            call.on_late()
            call.on_late = None
        if not call.future.done():
            self._counters["resent"] += 1
            self._try(call_id, call)

    def _give_up(self, call_id: bytes, call: _Call) -> None:
        self._counters["timeouts"] += 1
        self.round_trips.missed(source_of(call.address))
        self._given_up[call_id] = _GivenUp(call.address, tuple(call.sent_s))
        if len(self._given_up) > GIVEN_UP_MAX:
            self._given_up.popitem(last=False)
        call.future.set_result(None)

    def _forget(self, call_id: bytes) -> None:
        call = self._calls.pop(call_id, None)
        if call is not None and call.timer is not None:
            call.timer.cancel()

    # --- in ---

    def receive(self, data: bytes, address: Address) -> None:
        """Take an answer, or what should be one.

        Raises:
            MalformedMessage: it is from who was asked, and improper.
        """
        call_id = data[1 : wire.HEADER_SIZE - 1]
        waiting = self._calls.get(call_id)
        if waiting is not None and waiting.future.done():
            waiting = None
        call = waiting or self._given_up.get(call_id)
        if call is None:
            self._counters["unknown_reply"] += 1
        elif call.address != address:
            self._counters["foreign_reply"] += 1
        elif waiting is None:
            self._receive_late(data, self._given_up.pop(call_id))
        else:
            self._receive_awaited(data, waiting)

    def _receive_late(self, data: bytes, call: _GivenUp) -> None:
        """An answer to a call that was given up: who sent it lives, and answers take so long now."""
        self._counters["late_reply"] += 1
        message = wire.decode(data)
        if not isinstance(message, wire.Request):
            self._learn(call, message)

    def _receive_awaited(self, data: bytes, call: _Call) -> None:
        try:
            message = wire.decode(data)
            if isinstance(message, wire.Request):
                raise MalformedMessage("kind")
            if isinstance(message, wire.Reply):
                result = methods.parse_result(call.method, message.result)
        except MalformedMessage:
            call.future.set_result(None)  # it came from where it should: waiting brings nothing better
            raise
        self._learn(call, message)
        if isinstance(message, wire.Refusal):
            self._accept_refusal(call, message)
        else:
            call.future.set_result(Answer(message.sender, result))

    def _learn(self, call: _Call | _GivenUp, message: wire.Reply | wire.Refusal) -> None:
        """What any proper answer tells beside its result."""
        transmission = message.message_id[-1]
        if transmission < len(call.sent_s):
            round_trip_s = self._loop.time() - call.sent_s[transmission]
            self.round_trips.answered(source_of(call.address), round_trip_s)
        if message.token:
            self._hold_token(call.address, message.token)
        if message.sender:
            self._heard_from(message.sender, call.address)

    def _accept_refusal(self, call: _Call, refusal: wire.Refusal) -> None:
        if refusal.code == "token" and refusal.token:
            if not call.renewed_at:
                call.renewed_at = len(call.sent_s)
                call.datagram = self._encode(refusal.message_id[: wire.CALL_ID_SIZE], call)
                self._transmit(call)
                return
            if refusal.message_id[-1] < call.renewed_at:
                return  # of the old token, sent more than once; the answer to the new one is under way
        call.future.set_result(refusal)

    def _hold_token(self, address: Address, token: bytes) -> None:
        self._tokens_held[address] = token
        self._tokens_held.move_to_end(address)
        if len(self._tokens_held) > TOKENS_HELD_MAX:
            self._tokens_held.popitem(last=False)
