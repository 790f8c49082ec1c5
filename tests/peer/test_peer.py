"""The class a program embeds, on real sockets and in one loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dhtex import (
    Amend,
    Founding,
    Grape,
    GroupEvent,
    Identity,
    MarketSpec,
    Node,
    NotRunning,
    OrderError,
    OrderStatus,
    Peer,
    Place,
    Side,
    TimeInForce,
    UsageError,
)
from dhtex.dht.addresses import format_address
from dhtex.errors import DhtexError
from dhtex.identity import short_id
from dhtex.journal import inspect
from dhtex.replication import Replica


@pytest.fixture
async def grape() -> AsyncIterator[str]:
    async with Grape(dht_port=0, http_port=None) as running:
        yield running.dht_address


async def test_a_market_of_one_needs_nobody() -> None:
    async with Peer("BTC-USD") as peer:
        order = await peer.buy("1", price="50")
        result = await order.final()
        assert (result.position, result.status, str(result.remaining)) == (1, OrderStatus.OPEN, "1")
        assert (await (await peer.cancel(order)).final()).status is OrderStatus.DONE
        assert (await (await peer.cancel(order)).final()).reason == "unknown order"


async def test_three_peers_of_one_loop_trade_and_agree(grape: str) -> None:
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(Peer("BTC-USD", bootstrap=[grape])) for _ in range(3)]
        alice, bob, carol = peers
        trades = stack.enter_context(closing(carol.trades()))
        changes = stack.enter_context(closing(carol.book_changes()))
        await (await alice.sell("2", price="50")).final()
        result = await (await bob.buy("3", price="51", tag="mine")).final()
        assert (result.filled, result.remaining, result.status) == (Decimal(2), Decimal(1), OrderStatus.OPEN)
        trade = await anext(trades)
        assert (trade.price, trade.quantity, trade.aggressor) == (Decimal(50), Decimal(2), Side.BUY)
        assert trade.taker == result.order
        for peer in peers:
            await peer.reached(result.position)
        assert len({peer.position() for peer in peers}) == 1
        assert len({peer.book.depth() for peer in peers}) == 1
        assert carol.book.last_price == 50
        levels: dict[tuple[Side, Decimal], Decimal] = {}
        while levels != {(Side.SELL, Decimal(50)): Decimal(0), (Side.BUY, Decimal(51)): Decimal(1)}:
            change = await anext(changes)
            levels[change.side, change.price] = change.quantity
        (own,) = bob.book.orders_of(bob.node_id)
        assert (own.id, own.remaining, own.quantity) == (result.order, Decimal(1), Decimal(3))
        assert bob.book.find(str(result.order)) == [result.order]
        with pytest.raises(OrderError, match="not this peer's order"):
            await carol.cancel(result.order)


async def test_a_run_is_one_entry_and_a_market_order_takes_what_is_there() -> None:
    async with Peer("BTC-USD") as peer:
        spec = peer.spec
        asks = [
            Place(Side.SELL, spec.quantity(1), spec.price(price), account="maker") for price in (50, 51, 52)
        ]
        orders = await peer.send_all(asks)
        assert [result.position for result in await orders.final()] == [1, 2, 3]
        swept = await (await peer.buy("2.5", account="taker")).final()
        assert [trade.price for trade in swept.trades] == [50, 51, 52]
        killed = await (await peer.buy("9", price="60", time_in_force=TimeInForce.FOK)).final()
        assert (killed.status, killed.reason) == (OrderStatus.CANCELLED, "killed")


async def test_two_markets_share_a_node_and_stay_apart(grape: str) -> None:
    async with (
        Node(bootstrap=[grape]) as node,
        Peer("BTC-USD", node=node) as bitcoin,
        Peer(MarketSpec("ETH-USD", tick_size="0.1"), node=node) as ether,
    ):
        assert bitcoin.node_id == ether.node_id
        assert bitcoin.address == ether.address
        await (await bitcoin.sell("1", price="50000")).final()
        await (await ether.sell("1", price="3000.1")).final()
        assert [level.price for level in bitcoin.book.depth().asks] == [50000]
        assert [level.price for level in ether.book.depth().asks] == [Decimal("3000.1")]


async def test_a_peer_goes_on_from_its_journal(tmp_path: Path) -> None:
    async with Peer("BTC-USD", data_dir=tmp_path) as peer:
        first = await (await peer.sell("1", price="50", account="one")).final()
        before = peer.position()
    async with Peer("BTC-USD", data_dir=tmp_path) as peer:
        assert await peer.reached(before.number) == before
        second = await (await peer.buy("1", price="50", account="other")).final()
        assert second.order.n == first.order.n + 1
        assert second.trades[0].maker == first.order


async def test_who_subscribes_before_the_start_is_told_the_last_trades_of_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dhtex.peer.peer.HISTORY_TRADES", 2)
    async with Peer("BTC-USD", data_dir=tmp_path) as peer:
        await peer.sell("4", price="50", account="one")
        for _ in range(3):
            await (await peer.buy("1", price="50", account="other")).final()
    peer = Peer("BTC-USD", data_dir=tmp_path)
    with closing(peer.trades()) as trades:
        async with peer:
            await (await peer.buy("1", price="50", account="other")).final()
            assert [(await anext(trades)).position for _ in range(3)] == [3, 4, 5]


async def test_a_peer_whose_group_has_gone_says_what_it_waits_for(grape: str, tmp_path: Path) -> None:
    async with Peer("BTC-USD", bootstrap=[grape]), Peer("BTC-USD", bootstrap=[grape], data_dir=tmp_path):
        pass
    async with Peer("BTC-USD", bootstrap=[grape], data_dir=tmp_path, wait=False) as peer:
        with closing(peer.group_events()) as events:
            assert "no member of the group answers" in (await _next(events, "seeking")).text


async def test_those_who_left_say_without_whom_they_have_no_group(grape: str, tmp_path: Path) -> None:
    def make(name: str, *, wait: bool) -> Peer:
        return Peer("BTC-USD", bootstrap=[grape], data_dir=tmp_path, identity=name, wait=wait)

    async with make("last", wait=True) as last, make("left", wait=True), make("left-first", wait=True):
        pass
    async with make("left-first", wait=False), make("left", wait=False) as peer:
        with closing(peer.group_events()) as events:
            said = (await _next(events, "seeking")).text
    assert said == f"no member of the group answers ({short_id(last.node_id)}); looking again until one does"


async def test_nobody_is_said_not_to_answer_before_anybody_could_be_asked(grape: str, tmp_path: Path) -> None:
    async with Peer("BTC-USD", bootstrap=[grape]), Peer("BTC-USD", bootstrap=[grape], data_dir=tmp_path):
        pass
    peer = Peer("BTC-USD", bootstrap=[grape], data_dir=tmp_path, wait=False)
    with closing(peer.group_events()) as events:
        async with peer:
            kinds = []
            async for event in events:
                kinds.append(event.kind)
                if event.kind == "seeking":
                    break
            assert "bootstrap" in kinds


async def test_what_a_peer_is_by_its_journal_is_told_as_that(tmp_path: Path) -> None:
    for said in ("is a member", "resumes as a member"):
        peer = Peer("BTC-USD", data_dir=tmp_path)
        with closing(peer.group_events()) as events:
            async with peer:
                role = await _next(events, "role")
                while role.value != "member":
                    role = await _next(events, "role")
                assert role.text.endswith(said)


async def test_the_journal_of_a_peer_that_left_is_as_far_as_the_peer_was(tmp_path: Path) -> None:
    async with Peer("BTC-USD", data_dir=tmp_path) as peer:
        for _ in range(3):
            await (await peer.buy("1", price="5")).final()
        last = peer.position()
    (journal,) = (tmp_path / "journals").glob("*.journal")
    found = inspect(journal)
    assert (found.position, found.digest) == (last.number, last.digest)


@pytest.mark.parametrize("step", ["tick", "persisted", "storage_full"])
async def test_a_bug_below_ends_the_peer_rather_than_its_timer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("invariant broken")

    async with Peer("BTC-USD") as peer:
        monkeypatch.setattr(Replica, step, broken)
        order = peer.submit(Place(Side.BUY, 1, 100))
        if step == "storage_full":
            peer._on_full("the disk is full")  # as the journal tells, in a callback of the loop
        assert "please report it" in str(await peer.failure())
        with pytest.raises(NotRunning):
            await order.final()
        with pytest.raises(DhtexError, match="invariant broken"):
            await peer.buy("1", price="1")
    assert [record.name for record in caplog.records] == ["dhtex.peer.peer"]


async def test_a_bug_in_what_others_say_ends_the_peer(grape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhtex.peer.peer.LEAVE_TIMEOUT_S", 0.05)
    async with Peer("BTC-USD", bootstrap=[grape]) as alice, Peer("BTC-USD", bootstrap=[grape]) as bob:

        def broken(*_: object) -> None:
            raise RuntimeError("invariant broken")

        monkeypatch.setattr(alice.replica, "receive", broken)
        bob.submit(Place(Side.BUY, 1, 100))
        assert "please report it" in str(await alice.failure())


async def test_the_group_is_told_of_and_leaving_is_no_suspicion(grape: str) -> None:
    async with Peer("BTC-USD", bootstrap=[grape]) as alice:
        events = alice.group_events()
        async with Peer("BTC-USD", bootstrap=[grape]) as bob:
            joined = await _next(events, "view")
            assert bob.node_id in joined.members
        left = await _next(events, "view")
        assert left.members == (alice.node_id,)
        assert alice.view is not None
        assert alice.view.node_ids == (alice.node_id,)
        events.close()


@pytest.mark.parametrize("who", ["founding", "observe"])
async def test_nobody_waits_for_a_peer_that_only_joins_to_found_the_group(grape: str, who: str) -> None:
    first, second = sorted((Identity.generate() for _ in range(2)), key=lambda identity: identity.node_id)
    async with Peer(
        "BTC-USD", bootstrap=[grape], identity=first, wait=False,
        observe=who == "observe", founding=Founding.JOIN if who == "founding" else Founding.AUTO,
    ) as joiner:  # fmt: skip
        with closing(joiner.group_events()) as events:
            assert (await _next(events, "seeking")).text == "no group to join yet; waiting for one"
        async with Peer("BTC-USD", bootstrap=[grape], identity=second) as founder:
            final = await (await founder.buy("1", price="50")).final()
            assert await joiner.reached(final.position) == founder.position()


async def test_a_group_that_never_answers_is_waited_for_only_while_it_is_there() -> None:
    async with Node() as node:
        undone = node.endpoint.attach(MarketSpec("BTC-USD").group_id, _Silent())
        undone.view_number = 1  # founded, and known to nobody but its founder, who is about to crash
        async with Peer("BTC-USD", contacts=[format_address(node.address)], wait=False) as newcomer:
            with closing(newcomer.group_events()) as events:
                assert (await _next(events, "role")).value == "joining"
            await undone.close()
            await newcomer.ready()
            assert (await (await newcomer.buy("1", price="50")).final()).position == 1


class _Silent:
    """Hears, and never answers."""

    def on_notifications(self, *_: object) -> None:
        """Nothing."""


async def _next(events: AsyncIterator[GroupEvent], kind: str) -> GroupEvent:
    async for event in events:
        assert event.kind != "suspected", event.text
        if event.kind == kind:
            return event
    raise AssertionError(f"no {kind}")


async def test_what_is_wrong_is_said_before_anything_is_sent() -> None:
    peer = Peer("BTC-USD")
    with pytest.raises(NotRunning):
        peer.position()
    async with peer:
        with pytest.raises(OrderError, match="tick"):
            await peer.buy("1", price="0.001")
        with pytest.raises(OrderError, match="float"):
            await peer.buy(0.1, price="1")  # type: ignore[arg-type]
        with pytest.raises(OrderError, match="time_in_force is of type str"):
            await peer.buy("1", price="1", time_in_force="ioc")  # type: ignore[arg-type]
        with pytest.raises(OrderError, match="is not a command"):
            await peer.send(Amend("c0ffee12:1", 5))  # type: ignore[arg-type]
        with pytest.raises(OrderError, match="'c0ffee12:1' is no order"):
            await peer.cancel("c0ffee12:1")  # type: ignore[arg-type]
        assert peer.position().number == 0
    with pytest.raises(NotRunning):
        await peer.buy("1", price="1")
    with pytest.raises(UsageError, match="once"):
        await peer.__aenter__()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"bootstrap": "127.0.0.1:20001"}, r"bootstrap is a list of addresses; write \['127.0.0.1:20001'\]"),
        ({"contacts": "127.0.0.1:20001"}, "contacts is a list"),
        ({"contacts": ["here"]}, "write host:port"),
        pytest.param(
            {"contacts": [f"here:{'9' * 5000}"]}, "write host:port", id="more digits than a number has"
        ),
        ({"founding": "join"}, "Founding.JOIN"),
        ({"allow": ["c0ffee12"]}, "20 bytes"),
        ({"allow": bytes(20)}, "20 bytes"),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused_at_once(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Peer("BTC-USD", **arguments)


def test_a_grape_takes_its_bootstrap_as_a_list() -> None:
    with pytest.raises(UsageError, match="bootstrap is a list"):
        Grape(bootstrap="127.0.0.1:20001")


async def test_nothing_is_left_after_a_peer(grape: str) -> None:
    before = asyncio.all_tasks()
    async with Peer("BTC-USD", bootstrap=[grape]) as peer:
        await (await peer.buy("1", price="1")).final()
    assert asyncio.all_tasks() == before
