"""The socket of a node: requests of others in, with limits; its own go out by `calls.py`. The package's
protocol, made safe.

`kademlia.protocol` and `rpcudp.protocol` start a task for each datagram and believe what it says. Here a
datagram is handled where it arrives, in one place that no exception leaves:

    limits -> frame -> token -> arguments -> handler -> answer        a request, `serving.py`
    known call, address asked -> frame -> result -> waiting call      an answer, `calls.py`

Everything that does not fit is a counter and a debug line (1, 2, 5).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from kademlia.protocol import KademliaProtocol

from dhtex.dht import methods, wire
from dhtex.dht.addresses import format_address, from_sockaddr, source_of
from dhtex.dht.calls import Answer, Calls, Outcome
from dhtex.dht.contacts import Contact
from dhtex.dht.face import Address
from dhtex.dht.limits import Rates, SourceLimits
from dhtex.dht.serving import Refused, Serving
from dhtex.dht.table import Table
from dhtex.dht.timing import RoundTrips
from dhtex.dht.tokens import Tokens
from dhtex.errors import MalformedMessage, NotRunning, RpcError, RpcTimeout

log = logging.getLogger(__name__)

SEND_BUFFER_MAX = 1_000_000
"""Bytes asyncio may queue when the kernel takes no more; beyond it datagrams are lost, as on any full queue.
"""

CHECKS_MAX = 16
"""Contacts being pinged for their place in a full bucket."""

SILENT_S = 20.0
"""A contact that did not answer is not asked for so long when others name it, unless it is heard from."""

SILENT_MAX = 4_096

RECENT_PUTS_MAX = 512


class Protocol(KademliaProtocol):  # type: ignore[misc]  # kademlia and rpcudp ship no types
    """One UDP socket speaking the methods of `methods.py`."""

    transport: asyncio.DatagramTransport | None
    address: Address
    """Where the socket listens."""

    def __init__(self, own_id: bytes, table: Table, serving: Serving | None, rates: Rates) -> None:
        """A protocol that is not connected yet; `loop.create_datagram_endpoint` does that.

        Args:
            own_id: 20 bytes.
            table: kept up to date with who answers and who asks.
            serving: answers requests; None for a client, which answers pings only and hides its id (BEP 43).
            rates: what one source may cost.
        """
        # The package's __init__ only sets attributes of the same meaning; ours are typed and bounded.
        self.loop = asyncio.get_running_loop()
        self.router = table
        self.own_id = own_id
        self.sender = own_id if serving is not None else b""
        self.transport = None
        self.counters: Counter[str] = Counter()
        self._serving = serving
        self._calls = Calls(self.loop, self.sender, self._send, self._answered_by, self.counters)
        self._tokens = Tokens(self.loop.time())
        self._limits = SourceLimits(rates, self.loop.time())
        self._recent_puts: OrderedDict[tuple[Address, bytes], bytes] = OrderedDict()
        self._checks: set[bytes] = set()
        self._silent: OrderedDict[Address, float] = OrderedDict()
        self._is_ipv6 = False
        self.closed: asyncio.Future[None] = self.loop.create_future()

    def __getattr__(self, name: str) -> Any:
        """The package turns any misspelt attribute into a remote call (6)."""
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    # --- the socket ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # create_datagram_endpoint brings this kind
        sockname = transport.get_extra_info("sockname")
        self.address = from_sockaddr(sockname)
        self._is_ipv6 = len(sockname) == 4

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self._calls.close()
        if not self.closed.done():
            self.closed.set_result(None)

    def error_received(self, error: Exception) -> None:
        self.counters["socket_error"] += 1
        log.debug("socket error: %s", error)

    def close(self) -> None:
        """End every call and close the socket; `closed` tells when that is done."""
        if self.transport is not None:
            self.transport.close()
        self._calls.close()

    def _send(self, datagram: bytes, address: Address) -> None:
        transport = self.transport
        if transport is None:
            return
        host, port = address
        if self._is_ipv6:
            if ":" not in host:
                host = f"::ffff:{host}"
        elif ":" in host:
            self.counters["unreachable_family"] += 1
            return
        queued: int = transport.get_write_buffer_size()  # type: ignore[attr-defined]  # typeshed lacks it
        if queued > SEND_BUFFER_MAX:
            self.counters["send_overflow"] += 1
            return
        self.counters["sent"] += 1
        self.counters["bytes_sent"] += len(datagram)
        transport.sendto(datagram, (host, port))

    def can_reach(self, address: Address) -> bool:
        """False for an IPv6 address on an IPv4 socket."""
        return self._is_ipv6 or ":" not in address[0]

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self.counters["received"] += 1
        self.counters["bytes_received"] += len(data)
        address = from_sockaddr(addr)
        try:
            if data[:1] == b"\x00":
                self._receive_request(data, address)
            else:
                self._calls.receive(data, address)
        except MalformedMessage as error:
            self.counters[f"malformed_{error.reason}"] += 1
            log.debug("dropped a datagram from %s: %s", format_address(address), error)
        except Exception:
            self.counters["internal_error"] += 1
            log.exception("a bug: a datagram of %d bytes from %s", len(data), format_address(address))

    # --- requests of others ---

    def _receive_request(self, data: bytes, address: Address) -> None:
        now_s = self.loop.time()
        source = source_of(address)
        if not self._limits.take(source, now_s):
            self.counters["over_limit"] += 1
            return
        try:
            self._serve(data, address, source, now_s)
        finally:
            self._limits.spent(source, self.loop.time() - now_s)

    def _serve(self, data: bytes, address: Address, source: Hashable, now_s: float) -> None:
        request = wire.decode(data)
        if not isinstance(request, wire.Request):
            raise MalformedMessage("kind")
        if request.sender == self.own_id:
            self.counters["own_id"] += 1
            return
        is_proven = self._tokens.is_valid(request.token, address, now_s)
        if is_proven:
            self._limits.prove(source)
            if request.sender:
                self.heard_from(Contact(request.sender, address))
        answer = self._answer(request, address, is_proven, now_s)
        if not is_proven and len(answer) > len(data):
            answer = self._refusal(request, address, now_s, "token", "")
            if len(answer) > len(data):
                self.counters["unproven_dropped"] += 1
                return
        self._send(answer, address)

    def _answer(self, request: wire.Request, address: Address, is_proven: bool, now_s: float) -> bytes:
        try:
            methods.check_args(request.method, request.args)
            if request.method in methods.NEEDS_TOKEN and not is_proven:
                raise Refused("token", "")  # no sentence: it must not be larger than the question
            if request.method == "ping":
                result = None
            elif self._serving is None:
                raise Refused("client", "this node stores nothing for others")
            elif request.method == "put_item":
                return self._answer_put(self._serving, request, address, now_s)
            else:
                result = self._serving.serve(request.method, request.args, address, now_s)
        except MalformedMessage as error:
            self.counters[f"malformed_{error.reason}"] += 1
            return self._refusal(request, address, now_s, "malformed", str(error))
        except Refused as error:
            self.counters["refused"] += 1
            return self._refusal(request, address, now_s, error.code, error.text)
        except Exception:
            self.counters["internal_error"] += 1
            log.exception("a bug: %s failed", request.method)
            return self._refusal(request, address, now_s, "internal", "the node failed to answer")
        self.counters[f"served_{request.method}"] += 1
        return wire.encode_reply(request.message_id, self.sender, self._tokens.issue(address, now_s), result)

    def _answer_put(self, serving: Serving, request: wire.Request, address: Address, now_s: float) -> bytes:
        """A repeated put is answered from memory: done again, its own first copy would refuse it (302)."""
        memory_key = (address, request.message_id[: wire.CALL_ID_SIZE])
        remembered = self._recent_puts.get(memory_key)
        if remembered is not None:
            return remembered[:1] + request.message_id + remembered[wire.HEADER_SIZE :]
        try:
            serving.serve(request.method, request.args, address, now_s)
        except Refused as error:
            self.counters["refused"] += 1
            answer = self._refusal(request, address, now_s, error.code, error.text)
        else:
            self.counters["served_put_item"] += 1
            answer = wire.encode_reply(
                request.message_id, self.sender, self._tokens.issue(address, now_s), None
            )
        self._recent_puts[memory_key] = answer
        if len(self._recent_puts) > RECENT_PUTS_MAX:
            self._recent_puts.popitem(last=False)
        return answer

    def _refusal(self, request: wire.Request, address: Address, now_s: float, code: str, text: str) -> bytes:
        token = self._tokens.issue(address, now_s)
        return wire.encode_refusal(request.message_id, self.sender, token, code, text)

    # --- requests of ours ---

    def begin(
        self, address: Address, method: str, *args: Any, on_late: Callable[[], None] | None = None
    ) -> asyncio.Future[Outcome]:
        """Send a request; the future ends in an `Outcome` and never in an error.

        Args:
            on_late: called once when the answer takes longer than expected.
        Raises:
            NotRunning: the node is closed.
            UsageError: the arguments make a datagram over the limit.
        """
        if self.transport is None or self.transport.is_closing():
            raise NotRunning("the DHT node is closed; use it inside its `async with`")
        return self._calls.begin(address, method, args, on_late)

    async def call(self, address: Address, method: str, *args: Any) -> Answer:
        """Ask and wait for the answer.

        Raises:
            RpcTimeout: no proper answer within about two seconds.
            RpcError: the other node refused.
            NotRunning: the node is closed.
        """
        outcome = await self.begin(address, method, *args)
        if outcome is None:
            raise RpcTimeout(f"{format_address(address)} did not answer {method}")
        if isinstance(outcome, wire.Refusal):
            raise RpcError(outcome.code, outcome.text)
        return outcome

    @property
    def round_trips(self) -> RoundTrips:
        """How long answers take."""
        return self._calls.round_trips

    @property
    def calls_count(self) -> int:
        """Calls under way."""
        return len(self._calls)

    # --- who is there ---

    def _answered_by(self, node_id: bytes, address: Address) -> None:
        self.heard_from(Contact(node_id, address))

    def heard_from(self, contact: Contact) -> None:
        """A contact whose address is proved sent a proper message: it belongs into the table."""
        if contact.id == self.own_id:
            return
        self._silent.pop(contact.address, None)
        to_check = self.router.add_contact(contact, self.loop.time())
        if to_check is not None:
            self._check(to_check)

    def _check(self, contact: Contact) -> None:
        """Ping a contact whose place another could have."""
        if contact.id in self._checks or len(self._checks) >= CHECKS_MAX or self.transport is None:
            return
        self._checks.add(contact.id)

        def ended(future: asyncio.Future[Outcome]) -> None:
            self._checks.discard(contact.id)
            if not future.cancelled():
                self.settle(contact, future.result())

        self.begin(contact.address, "ping").add_done_callback(ended)

    def settle(self, contact: Contact, outcome: Outcome) -> None:
        """Book how a call to *contact* ended: anything but a message from its id is a failure."""
        if self.transport is None:
            return
        if outcome is None:
            self._silent[contact.address] = self.loop.time() + SILENT_S
            if len(self._silent) > SILENT_MAX:
                self._silent.popitem(last=False)
        if outcome is None or outcome.sender not in (contact.id, b""):
            self.router.failed(contact)

    def is_silent(self, address: Address) -> bool:
        """True when a call to *address* ended without a proper answer within the last 20 s."""
        return self._silent.get(address, 0.0) > self.loop.time()
