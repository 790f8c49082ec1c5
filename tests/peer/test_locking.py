"""Locks as a program asks for them: over a log that the test orders, and over real peers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from dhtex import Busy, Founding, Grape, Held, LockLost, NotRunning, Peer, UsageError
from dhtex.locks import WAITERS_MAX, LockRequest, LockTable
from dhtex.peer.locking import Locks

LEASE_S = 10.0
LEASE = 10_000_000


class Log:
    """One order of requests, applied when the test says so; node ids are single bytes."""

    def __init__(self) -> None:
        self.time = 1_000_000
        self.table = LockTable()
        self.position = 0
        self.waiting: list[tuple[bytes, int, LockRequest]] = []
        self.locks: dict[bytes, Locks] = {}
        self._n: dict[bytes, int] = {}
        self.submitted = asyncio.Event()

    def node(self, node_id: bytes) -> Locks:
        locks = self.locks[node_id] = Locks(self._submit_of(node_id), lambda: self.time)
        return locks

    def _submit_of(self, node_id: bytes) -> Callable[[LockRequest], int]:
        def submit(request: LockRequest) -> int:
            n = self._n[node_id] = self._n.get(node_id, 0) + 1
            self.waiting.append((node_id, n, request))
            self.submitted.set()
            return n

        return submit

    async def next_request(self) -> LockRequest:
        while not self.waiting:
            self.submitted.clear()
            await self.submitted.wait()
        return self.waiting[0][2]

    def apply(self, at: int = 0) -> None:
        node_id, n, request = self.waiting.pop(at)
        self.position += 1
        for event in self.table.apply(request, node_id=node_id, n=n, timestamp=self.time):
            if event.node_id in self.locks:
                self.locks[event.node_id].on_event(event, self.position)

    async def run(self, task: asyncio.Task[Held]) -> Held:
        """Apply whatever comes until *task* has its lock."""
        while not task.done():
            await self.next_request()
            self.apply()
            await turn()
        return await task


async def turn() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def take(stack: AsyncExitStack, locks: Locks) -> asyncio.Task[Held]:
    return asyncio.create_task(stack.enter_async_context(locks.hold("x", LEASE_S)))


async def test_a_grant_to_a_request_that_was_taken_back_is_not_taken_for_the_next() -> None:
    log = Log()
    alice, bob = log.node(b"a"), log.node(b"b")
    async with AsyncExitStack() as alices, AsyncExitStack() as bobs:
        await log.run(take(alices, alice))
        first = take(bobs, bob)
        await log.next_request()
        log.apply()  # Bob waits
        first.cancel()
        await turn()
        second = take(bobs, bob)
        await turn()
        await alices.aclose()  # in the log, Alice's release comes before what Bob takes back
        assert [request.lease for _, _, request in log.waiting] == [0, LEASE, 0]
        log.apply(2)
        assert log.table.holder("x") == b"b"  # by the request that he is about to take back
        await turn()
        assert not second.done(), "Bob entered by a grant that ends with his next command"
        held = await log.run(second)
        assert (held.token, log.table.holder("x")) == (log.position, b"b")


async def test_a_release_that_came_too_late_does_not_refuse_the_next_request() -> None:
    log = Log()
    alice = log.node(b"a")
    async with AsyncExitStack() as stack:
        first = await log.run(take(stack, alice))
        log.time += LEASE  # nobody notices
        await stack.aclose()
        second = await log.run(take(stack, alice))
        assert second.token > first.token


async def test_whoever_waits_asks_again_when_the_lease_of_a_silent_holder_is_over() -> None:
    log = Log()
    alice, bob = log.node(b"a"), log.node(b"b")
    async with AsyncExitStack() as alices, AsyncExitStack() as bobs:
        held = await log.run(take(alices, alice))
        waiting = take(bobs, bob)
        await log.next_request()
        log.time += LEASE - 1  # a microsecond of patience is left
        log.apply()
        await turn()
        log.time += 1
        taken = await log.run(waiting)  # by a request that nobody but Bob made
        assert held.is_lost
        assert taken.token > held.token
        assert not taken.is_lost


async def test_a_lease_that_is_renewed_lasts_and_one_that_ended_is_told() -> None:
    log = Log()
    alice = log.node(b"a")
    async with AsyncExitStack() as stack:
        held = await log.run(take(stack, alice))
        log.time += LEASE // 2
        renewal = asyncio.create_task(held.renew())
        await log.next_request()
        log.apply()
        await renewal
        assert held.until == log.time + LEASE
        log.time += LEASE
        renewal = asyncio.create_task(held.renew(20))
        await log.next_request()
        log.apply()
        with pytest.raises(LockLost, match="others may have held it"):
            await renewal
        assert (await log.next_request()).lease == 0, "it would be granted to nobody"
        log.apply()
        assert log.table.holder("x") is None
        with pytest.raises(LockLost):
            await held.renew()


async def test_a_queue_that_is_full_refuses() -> None:
    log = Log()
    for n in range(WAITERS_MAX + 1):
        log.table.apply(LockRequest("x", LEASE), node_id=str(n).encode(), n=1, timestamp=log.time)
    with pytest.raises(Busy, match="too many waiters"):
        async with AsyncExitStack() as stack:
            await log.run(take(stack, log.node(b"a")))
    assert log.waiting == []


@pytest.mark.parametrize(
    ("name", "lease_s"), [("", 1), ("x" * 65, 1), ("x", 0), ("x", 3601), ("\ud800" * 22, 1)]
)
async def test_what_no_lock_can_be_is_said(name: str, lease_s: float) -> None:
    with pytest.raises(UsageError):
        async with Log().node(b"a").hold(name, lease_s):
            pass


@pytest.fixture
async def grape() -> AsyncIterator[str]:
    async with Grape(dht_port=0, http_port=None) as running:
        yield running.dht_address


async def test_tasks_of_several_peers_exclude_each_other_and_tokens_rise(grape: str) -> None:
    async with Peer("BTC-USD", bootstrap=[grape]) as alice, Peer("BTC-USD", bootstrap=[grape]) as bob:
        log: list[str] = []
        tokens: list[int] = []

        async def work(peer: Peer, name: str) -> None:
            async with peer.lock("settlement", lease_s=60) as held:
                log.append(f"{name} in")
                tokens.append(held.token)
                await (await peer.buy("1", price="1")).final()
                await held.renew()
                log.append(f"{name} out")

        await asyncio.gather(work(alice, "a"), work(bob, "b"), work(alice, "c"), work(bob, "d"))
        assert len(log) == 8
        for entered, left in zip(log[::2], log[1::2], strict=True):
            assert entered.split() == [left.split()[0], "in"]
        assert tokens == sorted(set(tokens))


async def test_a_holder_that_sleeps_through_its_lease_blocks_nobody(grape: str) -> None:
    async with (
        Peer("BTC-USD", bootstrap=[grape]) as alice,
        Peer("BTC-USD", bootstrap=[grape]) as bob,
        alice.lock("settlement", lease_s=0.2) as first,
        bob.lock("settlement", lease_s=60) as second,
    ):
        assert second.token > first.token
        with pytest.raises(LockLost):
            await first.renew()


async def test_whoever_waits_when_the_peer_closes_is_told(grape: str) -> None:
    async with Peer("BTC-USD", bootstrap=[grape]) as alice, alice.lock("settlement"):
        async with Peer("BTC-USD", bootstrap=[grape]) as bob:
            waiting = asyncio.create_task(bob.lock("settlement").__aenter__())
            await bob.reached(2)
        with pytest.raises(NotRunning):
            await waiting


async def test_an_observer_takes_no_lock(grape: str) -> None:
    async with (
        Peer("BTC-USD", bootstrap=[grape], founding=Founding.FOUND),
        Peer("BTC-USD", bootstrap=[grape], observe=True) as observer,
    ):
        with pytest.raises(UsageError, match="observer"):
            async with observer.lock("settlement"):
                pass
