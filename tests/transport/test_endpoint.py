"""Endpoints on real sockets: hello, notifications, calls, groups, closing."""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import Any

import pytest

from dhtex.errors import (
    MalformedMessage,
    NetworkError,
    NotRunning,
    PortInUse,
    RpcError,
    RpcTimeout,
    Unreachable,
)
from dhtex.identity import PublicKey
from dhtex.transport import Endpoint, Limits, Method
from dhtex.transport.limits import Budget
from transport.support import ALICE, BOB, CAROL, GROUP, Pair, Recorder, introduce

NOWHERE = ("127.0.0.1", 9)


async def test_hello_finds_out_who_listens() -> None:
    async with Endpoint(ALICE) as alice, Endpoint(BOB) as bob:
        a, b = alice.attach(GROUP, Recorder()), bob.attach(GROUP, Recorder())
        b.view_number = 41
        answer = await a.hello(bob.address, timeout=5)
        assert (answer.public_key, answer.node_id) == (BOB.public_key, BOB.node_id)
        assert (answer.view_number, answer.address) == (41, bob.address)
        assert a.address_of(BOB.node_id) is None, "a claim changes nothing"


async def test_hello_is_not_answered_by_one_with_nothing_to_say() -> None:
    async with Endpoint(ALICE) as alice, Endpoint(BOB) as bob:
        a, b = alice.attach(GROUP, Recorder()), bob.attach(GROUP, Recorder())
        b.view_number = None
        with pytest.raises(RpcTimeout):
            await a.hello(bob.address, timeout=0.05)
        b.view_number = 3
        assert (await a.hello(bob.address, timeout=5)).view_number == 3


async def test_hello_takes_a_name() -> None:
    async with Endpoint(ALICE) as alice, Endpoint(BOB) as bob:
        a = alice.attach(GROUP, Recorder())
        bob.attach(GROUP, Recorder())
        assert (await a.hello(("localhost", bob.address[1]), timeout=5)).node_id == BOB.node_id


async def test_hello_to_nobody_and_to_another_group_times_out() -> None:
    async with Endpoint(ALICE) as alice, Endpoint(BOB) as bob:
        a = alice.attach(GROUP, Recorder())
        bob.attach(b"another group 012345", Recorder())
        with pytest.raises(RpcTimeout, match="nobody of this group answered"):
            await a.hello(bob.address, timeout=0.05)
        assert bob.counters["dropped_group"] >= 1
        with pytest.raises(Unreachable):
            await a.hello(("no such name.invalid", 1), timeout=0.05)


async def test_what_is_said_in_a_block_is_sent_at_its_end() -> None:
    async with Pair() as pair:
        before = pair.alice.counters["datagrams_out"]
        with pair.a.at_once:
            pair.a.notify([BOB.node_id], [(1, [b"x"])])
            assert pair.alice.counters["datagrams_out"] == before
        assert pair.alice.counters["datagrams_out"] == before + 1


async def test_one_notification_goes_to_several_and_those_unknown_are_counted() -> None:
    async with Pair() as pair:
        pair.a.notify([CAROL.node_id, BOB.node_id], [(1, [b"x"]), (2, [])])
        await pair.heard_by_bob.wait_for(2)
        assert pair.alice.counters["unsent_no_address"] == 2


async def test_notifications_of_a_turn_arrive_in_one_call_and_in_order() -> None:
    async with Pair() as pair:
        pair.a.notify([BOB.node_id], [(1, [b"x"]), (2, [])])
        pair.a.notify([BOB.node_id], [(3, ["text", -5, None])])
        await pair.heard_by_bob.wait_for(3)
        expected = [(1, [b"x"]), (2, []), (3, ["text", -5, None])]
        assert pair.heard_by_bob.calls == [(ALICE.node_id, pair.alice.address, expected)]
        assert pair.alice.counters["datagrams_out"] == 1


@pytest.mark.parametrize("max_datagram", [512, 1200, 8192])
async def test_entries_of_64_kib_travel(max_datagram: int) -> None:
    async with Pair(max_datagram=max_datagram) as pair:
        pair.a.notify([BOB.node_id], [(7, [b"x" * 65_536])])
        assert await pair.heard_by_bob.wait_for(1) == [(7, [b"x" * 65_536])]


async def test_calls_to_synchronous_and_asynchronous_handlers() -> None:
    async with Pair() as pair:

        async def later(sender: PublicKey, params: list[Any]) -> Any:
            await asyncio.sleep(0)
            return {"from": sender, "params": params}

        pair.b.register("now", lambda sender, params: params[::-1])
        pair.b.register("later", later)
        assert await pair.a.call(BOB.node_id, "now", [1, b"2", "3"], timeout=5) == ["3", b"2", 1]
        answer = await pair.a.call(BOB.node_id, "later", [b"x" * 50_000], timeout=5)
        assert answer == {"from": ALICE.public_key, "params": [b"x" * 50_000]}


async def test_refusals_and_failures_are_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    async with Pair() as pair:

        def refuses(sender: PublicKey, params: list[Any]) -> None:
            raise RpcError("full", "no room left")

        def disbelieves(sender: PublicKey, params: list[Any]) -> None:
            raise MalformedMessage("arity", "three fields")

        async def breaks(sender: PublicKey, params: list[Any]) -> None:
            raise RuntimeError("secret detail")

        def returns_what_cannot_be_sent(sender: PublicKey, params: list[Any]) -> object:
            return object()

        codes = {
            "refuses": (refuses, "full"),
            "disbelieves": (disbelieves, "params"),
            "breaks": (breaks, "internal"),
            "returns": (returns_what_cannot_be_sent, "internal"),
        }
        for method, (handler, code) in codes.items():
            pair.b.register(method, handler)
            with pytest.raises(RpcError) as caught:
                await pair.a.call(BOB.node_id, method, [], timeout=5)
            assert caught.value.code == code
            assert "secret" not in str(caught.value)
        with pytest.raises(RpcError) as caught:
            await pair.a.call(BOB.node_id, "nobody knows", [], timeout=5)
        assert caught.value.code == "unknown_method"
        assert pair.bob.counters["handler_failed"] == 2
        assert {record.name for record in caplog.records} == {"dhtex.transport.server"}


async def test_typed_methods() -> None:
    double: Method[int, str] = Method(
        "double",
        pack_params=lambda number: [number],
        unpack_params=lambda params: int(params[0]),
        pack_result=lambda text: text,
        unpack_result=str,
    )

    async def serve(sender: PublicKey, number: int) -> str:
        return str(2 * number)

    async with Pair() as pair:
        pair.b.serve(double, serve)
        assert await pair.a.invoke(double, BOB.node_id, 21, timeout=5) == "42"


async def test_a_call_times_out_and_leaves_nothing() -> None:
    async with Pair() as pair:
        assert pair.a.set_peer(CAROL.public_key, NOWHERE)
        with pytest.raises(RpcTimeout):
            await pair.a.call(CAROL.node_id, "m", [], timeout=0.02)
        link = pair.a._links.of_node(CAROL.node_id)
        assert link is not None
        assert len(link.calls) == 0


async def test_a_cancelled_call_leaves_no_trace_and_its_answer_is_dropped() -> None:
    async with Pair() as pair:
        release, entered = asyncio.Event(), asyncio.Event()

        async def slow(sender: PublicKey, params: list[Any]) -> None:
            entered.set()
            await release.wait()

        pair.b.register("slow", slow)
        pair.b.register("quick", lambda sender, params: "here")
        call = asyncio.create_task(pair.a.call(BOB.node_id, "slow", [], timeout=60))
        await entered.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        link = pair.a._links.of_node(BOB.node_id)
        assert link is not None
        assert len(link.calls) == 0
        release.set()
        while not pair.alice.counters["dropped_no_call"]:
            assert await pair.a.call(BOB.node_id, "quick", [], timeout=5) == "here"


async def test_closing_ends_every_call_hello_and_handler() -> None:
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def stuck(sender: PublicKey, params: list[Any]) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with Pair() as pair:
        pair.b.register("stuck", stuck)
        call = asyncio.create_task(pair.a.call(BOB.node_id, "stuck", [], timeout=60))
        hello = asyncio.create_task(pair.a.hello(NOWHERE, timeout=60))
        await entered.wait()
        await pair.alice.close()
        for task in (call, hello):
            with pytest.raises(NotRunning):
                await task
        await pair.alice.close()
        await pair.bob.close()
        assert cancelled.is_set()
        with pytest.raises(NotRunning):
            await pair.a.call(BOB.node_id, "stuck", [], timeout=1)
        with pytest.raises(NotRunning):
            await pair.a.hello(NOWHERE, timeout=1)
        with pytest.raises(NotRunning):
            pair.alice.attach(b"a group of 20 bytes!", Recorder())
        pair.a.notify([BOB.node_id], [(1, [])])
    gc.collect()  # an unclosed socket or a lost task would be a warning, and warnings are errors
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_was_said_last_is_sent_before_closing() -> None:
    async with Pair() as pair:
        pair.a.notify([BOB.node_id], [(1, [b"goodbye"])])
        await pair.alice.close()
        assert await pair.heard_by_bob.wait_for(1) == [(1, [b"goodbye"])]


async def test_an_endpoint_can_be_closed_before_it_was_started() -> None:
    endpoint = Endpoint(ALICE)
    await endpoint.close()
    with pytest.raises(NotRunning):
        _ = endpoint.address


async def test_strangers_may_only_what_the_group_lets_them() -> None:
    async with Endpoint(ALICE) as alice, Endpoint(BOB) as bob:
        a = alice.attach(GROUP, Recorder())
        heard = Recorder()
        b = bob.attach(GROUP, heard, stranger_tags=frozenset({1}), stranger_methods=frozenset({"join"}))
        b.register("join", lambda sender, params: "welcome")
        b.register("vote", lambda sender, params: "counted")
        assert a.set_peer(BOB.public_key, bob.address)
        a.notify([BOB.node_id], [(2, []), (1, [])])
        assert await a.call(BOB.node_id, "join", [], timeout=5) == "welcome"
        with pytest.raises(RpcError) as caught:
            await a.call(BOB.node_id, "vote", [], timeout=5)
        assert caught.value.code == "not_member"
        assert heard.said == [(1, [])]
        assert bob.counters["dropped_stranger"] == 1
        b.set_members({ALICE.node_id, BOB.node_id})
        assert await a.call(BOB.node_id, "vote", [], timeout=5) == "counted"
        b.set_members({BOB.node_id})
        with pytest.raises(RpcError):
            await a.call(BOB.node_id, "vote", [], timeout=5)


async def test_an_allow_list_is_silent_towards_others() -> None:
    async with Endpoint(ALICE) as alice, Endpoint(CAROL) as carol, Endpoint(BOB) as bob:
        b = bob.attach(
            GROUP, Recorder(), stranger_methods=frozenset({"join"}), allow=frozenset({ALICE.node_id})
        )
        b.register("join", lambda sender, params: "welcome")
        assert not b.set_peer(CAROL.public_key, carol.address)
        a, c = alice.attach(GROUP, Recorder()), carol.attach(GROUP, Recorder())
        for channel in (a, c):
            channel.set_peer(BOB.public_key, bob.address)
        assert await a.call(BOB.node_id, "join", [], timeout=5) == "welcome"
        assert (await a.hello(bob.address, timeout=5)).node_id == BOB.node_id
        with pytest.raises(RpcTimeout):
            await c.call(BOB.node_id, "join", [], timeout=0.05)
        with pytest.raises(RpcTimeout):
            await c.hello(bob.address, timeout=0.05)
        assert bob.counters["dropped_allow_list"] >= 2
        assert carol.counters["datagrams_in"] == 0


async def test_several_groups_share_a_socket_and_stay_apart() -> None:
    groups = [bytes([number]) * 20 for number in range(3)]
    async with Endpoint(ALICE) as alice, Endpoint(BOB) as bob:
        recorders = [Recorder() for _ in groups]
        ours = [alice.attach(group, Recorder()) for group in groups]
        for group, recorder, channel in zip(groups, recorders, ours, strict=True):
            theirs = bob.attach(group, recorder)
            introduce(channel, theirs, addresses=(alice.address, bob.address), identities=(ALICE, BOB))
        for tag, channel in enumerate(ours):
            channel.notify([BOB.node_id], [(tag, [])])
        for tag, recorder in enumerate(recorders):
            assert await recorder.wait_for(1) == [(tag, [])]
        await ours[0].close()
        ours[1].notify([BOB.node_id], [(9, [])])
        await recorders[1].wait_for(2)
        again = alice.attach(groups[0], Recorder())
        introduce(again, addresses=(alice.address,), identities=(ALICE,))
        again.set_peer(BOB.public_key, bob.address)
        again.notify([BOB.node_id], [(8, [])])
        assert (await recorders[0].wait_for(2))[1] == (8, [])


async def test_a_peer_that_restarts_on_another_port_is_followed() -> None:
    async with Pair() as pair:
        pair.b.notify([ALICE.node_id], [(1, [])])
        await pair.heard_by_alice.wait_for(1)
        await pair.bob.close()
        async with Endpoint(BOB) as restarted:
            assert restarted.address != pair.b.address_of(BOB.node_id)
            recorder = Recorder()
            channel = restarted.attach(GROUP, recorder)
            channel.set_members({ALICE.node_id, BOB.node_id})
            channel.set_peer(ALICE.public_key, pair.alice.address)
            channel.notify([ALICE.node_id], [(2, [])])
            await pair.heard_by_alice.wait_for(2)
            assert pair.a.address_of(BOB.node_id) == restarted.address
            pair.a.register("echo", lambda sender, params: params)
            assert await channel.call(ALICE.node_id, "echo", [3], timeout=5) == [3]
            while not recorder.said:
                pair.a.notify([BOB.node_id], [(4, [])])
                await asyncio.sleep(0)


async def test_requests_in_progress_are_bounded() -> None:
    member = Budget(datagrams=1e4, octets=1e8, requests=3, queued=1 << 20)
    async with Pair(limits=Limits(member=member)) as pair:
        release = asyncio.Event()

        async def slow(sender: PublicKey, params: list[Any]) -> str:
            await release.wait()
            return "done"

        pair.b.register("slow", slow)
        calls = [asyncio.create_task(pair.a.call(BOB.node_id, "slow", [], timeout=30)) for _ in range(10)]
        done, waiting = set[asyncio.Task[Any]](), set(calls)
        while len(done) < 7:
            finished, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done |= finished
        codes = [error.code for task in done if isinstance(error := task.exception(), RpcError)]
        assert codes == ["busy"] * 7
        release.set()
        assert await asyncio.gather(*waiting) == ["done"] * 3


async def test_a_broken_group_does_not_stop_the_socket(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Recorder):
        def on_notifications(self, *args: Any) -> None:
            super().on_notifications(*args)
            raise RuntimeError("a bug in the group")

    async with Pair() as pair:
        pair.b._handler = broken = Broken()
        for tag in (1, 2):
            pair.a.notify([BOB.node_id], [(tag, [])])
            await broken.wait_for(tag)
        assert pair.bob.counters["handler_failed"] == 2
    assert {record.name for record in caplog.records} == {"dhtex.transport.channel"}


async def test_messages_for_unknown_peers_are_counted() -> None:
    async with Pair() as pair:
        pair.a.notify([CAROL.node_id], [(1, []), (2, [])])
        assert pair.alice.counters["unsent_no_address"] == 2
        assert pair.a.backlog(CAROL.node_id) == 0
        with pytest.raises(Unreachable):
            await pair.a.call(CAROL.node_id, "m", [], timeout=1)
        assert pair.a.public_key_of(CAROL.node_id) is None
        assert pair.a.public_key_of(BOB.node_id) == BOB.public_key


async def test_backlog_shows_what_waits_for_the_window() -> None:
    async with Pair() as pair:
        for _ in range(10):
            pair.a.notify([BOB.node_id], [(1, [b"x" * 60_000])])
        assert pair.a.backlog(BOB.node_id) > 300_000
        await pair.heard_by_bob.wait_for(10)
        assert (
            pair.a.backlog(BOB.node_id) < 60_000
        )  # on a busy machine something may be sent again needlessly


@pytest.mark.parametrize(
    "address",
    [
        ("example.org", 80),
        ("", 80),
        ("127.0.0.1", 0),
        ("127.0.0.1", 65536),
        ("0.0.0.0", 80),
        ("224.0.0.1", 80),
        ("255.255.255.255", 80),
        ("::1", 80),
    ],
)
async def test_addresses_that_are_no_peers_are_refused(address: tuple[str, int]) -> None:
    async with Pair() as pair:
        assert not pair.a.set_peer(CAROL.public_key, address)
        assert pair.a.address_of(CAROL.node_id) is None
        assert pair.alice.counters["refused_address"] == 1


async def test_keys_that_are_no_peers_are_refused() -> None:
    async with Pair() as pair:
        assert not pair.a.set_peer(PublicKey(bytes(32)), NOWHERE)
        assert not pair.a.set_peer(ALICE.public_key, NOWHERE)
        assert pair.alice.counters["refused_key"] == pair.alice.counters["refused_self"] == 1


async def test_a_taken_port_and_a_foreign_host_are_told_in_a_sentence() -> None:
    async with Endpoint(ALICE) as alice:
        with pytest.raises(PortInUse, match="another program listens on"):
            async with Endpoint(BOB, port=alice.address[1]):
                pytest.fail("two endpoints on one port")
    for host in ("192.0.2.1", "no such name.invalid"):
        with pytest.raises(NetworkError, match="cannot listen on"):
            async with Endpoint(ALICE, host):
                pytest.fail("not an address of this machine")


@pytest.mark.parametrize("max_datagram", [511, 8193])
def test_datagram_sizes_out_of_range_are_refused(max_datagram: int) -> None:
    with pytest.raises(ValueError, match="512 to 8192"):
        Endpoint(ALICE, max_datagram=max_datagram)


async def test_misuse_of_attach_call_and_register_is_refused() -> None:
    async with Pair() as pair:
        with pytest.raises(ValueError, match="20 bytes"):
            pair.alice.attach(b"short", Recorder())
        with pytest.raises(ValueError, match="attached to this endpoint already"):
            pair.alice.attach(GROUP, Recorder())
        for timeout in (0, -1, 301):
            with pytest.raises(ValueError, match="a call takes"):
                await pair.a.call(BOB.node_id, "m", [], timeout=timeout)
        pair.a.register("m", lambda sender, params: None)
        for name in ("m", "", "m" * 65):
            with pytest.raises(ValueError, match="a name of its own"):
                pair.a.register(name, lambda sender, params: None)


async def test_a_handler_may_close_its_own_channel() -> None:
    async with Pair() as pair:

        async def close(sender: PublicKey, params: list[Any]) -> str:
            await pair.b.close()
            return "closed"

        pair.b.register("close", close)
        assert await pair.a.call(BOB.node_id, "close", [], timeout=5) == "closed"


async def test_a_stranger_may_be_forgotten_while_its_request_is_answered() -> None:
    async with Endpoint(ALICE) as alice, Endpoint(BOB, limits=Limits(strangers=1)) as bob:
        failures: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
        a = alice.attach(GROUP, Recorder())
        b = bob.attach(GROUP, Recorder(), stranger_methods=frozenset({"join"}))
        b.register("join", lambda sender, params: b.set_peer(CAROL.public_key, NOWHERE))
        a.set_peer(BOB.public_key, bob.address)
        assert await a.call(BOB.node_id, "join", [], timeout=5) is True
        assert b.public_key_of(ALICE.node_id) is None
        assert failures == []


@pytest.mark.parametrize("number", [-1, 1 << 63])
async def test_view_numbers_out_of_range_are_refused(number: int) -> None:
    async with Pair() as pair:
        with pytest.raises(ValueError, match="a view number lies between"):
            pair.a.view_number = number
        assert pair.a.view_number == 0


async def test_an_advertised_address_is_the_one_to_tell_others() -> None:
    async with Endpoint(ALICE, advertise=("203.0.113.5", 4000)) as alice, Endpoint(BOB) as bob:
        assert alice.advertised == ("203.0.113.5", 4000)
        assert alice.address[0] == "127.0.0.1"
        assert bob.advertised == bob.address


def ipv6_missing() -> str:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        return str(error)
    return ""


needs_ipv6 = pytest.mark.skipif(bool(ipv6_missing()), reason=f"no IPv6 here: {ipv6_missing()}")


@needs_ipv6
async def test_ipv6() -> None:
    async with Pair(host="::1") as pair:
        assert pair.alice.address[0] == "::1"
        assert (await pair.a.hello(pair.bob.address, timeout=5)).address == pair.bob.address
        pair.a.notify([BOB.node_id], [(1, [])])
        await pair.heard_by_bob.wait_for(1)
        assert pair.heard_by_bob.calls[0][1] == pair.alice.address


@needs_ipv6
async def test_every_spelling_of_an_address_is_that_address() -> None:
    async with Pair(host="::1") as pair:
        for host in ("::1", "0:0:0:0:0:0:0:1", "0::0001"):
            answer = await pair.a.hello((host, pair.bob.address[1]), timeout=5)
            assert answer.address == pair.bob.address
            pair.a.set_peer(BOB.public_key, (host, pair.bob.address[1]))
            assert pair.a.address_of(BOB.node_id) == pair.bob.address


@needs_ipv6
@pytest.mark.parametrize("host", ["::ffff:224.0.0.1", "::ffff:255.255.255.255", "::ffff:0.0.0.0", "ff02::1"])
async def test_no_group_of_hosts_hides_in_an_ipv6_address(host: str) -> None:
    async with Endpoint(ALICE, "::") as alice:
        channel = alice.attach(GROUP, Recorder())
        assert not channel.set_peer(BOB.public_key, (host, 80))


@needs_ipv6
@pytest.mark.parametrize("zone", ["\0", "ü" * 70])
async def test_a_zone_that_makes_a_socket_raise_is_refused(zone: str) -> None:
    async with Endpoint(ALICE, "::1") as alice:
        channel = alice.attach(GROUP, Recorder())
        assert not channel.set_peer(BOB.public_key, (f"fe80::1%{zone}", 80))


@needs_ipv6
async def test_a_socket_on_every_address_speaks_ipv4_too() -> None:
    async with Endpoint(ALICE, "::") as alice, Endpoint(BOB) as bob:
        a, b = alice.attach(GROUP, Recorder()), bob.attach(GROUP, Recorder())
        assert (await a.hello(bob.address, timeout=5)).address == bob.address
        there = ("127.0.0.1", alice.address[1])
        assert (await b.hello(there, timeout=5)).address == there


def test_endpoints_run_on_uvloop_too() -> None:
    uvloop = pytest.importorskip("uvloop", reason="the extra `fast` is not installed")

    async def main() -> None:
        failures: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
        async with Pair() as pair:
            pair.b.register("echo", lambda sender, params: params)
            for number in range(50):
                assert await pair.a.call(BOB.node_id, "echo", [number], timeout=5) == [number]
            pair.a.notify([BOB.node_id], [(1, [b"x" * 65_536])])
            await pair.heard_by_bob.wait_for(1)
            assert pair.a.set_peer(CAROL.public_key, NOWHERE)
            with pytest.raises(RpcTimeout):
                await pair.a.call(CAROL.node_id, "m", [], timeout=0.2)
        assert failures == []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


class Troubled:
    """A socket that first fails as often as it is told to."""

    def __init__(
        self, real: Any, *, send: list[OSError] | None = None, receive: list[OSError] | None = None
    ) -> None:
        self._real = real
        self._send = send or []
        self._receive = receive or []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def sendto(self, *args: Any) -> Any:
        if self._send:
            raise self._send.pop()
        return self._real.sendto(*args)

    def recvfrom(self, *args: Any) -> Any:
        if self._receive:
            raise self._receive.pop()
        return self._real.recvfrom(*args)


def trouble(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, **errors: list[OSError]) -> None:
    monkeypatch.setattr(endpoint, "_socket", Troubled(endpoint._socket, **errors))


async def test_what_a_full_send_buffer_refused_is_sent_in_order_once_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Pair() as pair:
        trouble(pair.alice, monkeypatch, send=[BlockingIOError(), BlockingIOError()])
        for tag in range(30):
            pair.a.notify([BOB.node_id], [(tag, [b"x" * 900])])
        assert [tag for tag, _ in await pair.heard_by_bob.wait_for(30)] == list(range(30))
        assert not pair.alice._unsent


async def test_what_is_kept_for_a_full_send_buffer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhtex.transport.endpoint.UNSENT_MAX", 5)
    async with Pair() as pair:
        trouble(pair.alice, monkeypatch, send=[BlockingIOError() for _ in range(3)])
        for tag in range(10):
            pair.a.notify([BOB.node_id], [(tag, [b"x" * 900])])
        assert [tag for tag, _ in await pair.heard_by_bob.wait_for(5)] == list(range(5))
        assert pair.alice.counters["unsent_buffer"] == 5


async def test_errors_of_the_system_are_counted_and_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Pair() as pair:
        trouble(pair.alice, monkeypatch, send=[OSError(101, "Network is unreachable")])
        trouble(pair.bob, monkeypatch, receive=[ConnectionResetError()])
        pair.b.register("ping", lambda sender, params: "pong")
        assert await pair.a.call(BOB.node_id, "ping", [], timeout=10) == "pong"
        assert pair.alice.counters["send_failed"] == pair.bob.counters["receive_failed"] == 1


async def test_a_name_without_a_reachable_address_is_refused() -> None:
    async with Pair() as pair:
        with pytest.raises(Unreachable, match="cannot be reached from this socket"):
            await pair.a.hello(("0.0.0.0", 9), timeout=1)
