"""Handles: accepted, final, and what happens when neither comes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from dhtex.errors import FellBehind, NotRunning
from dhtex.exchange import Applied, Exchange
from dhtex.matching import (
    Cancel,
    Command,
    Kind,
    MarketSpec,
    OrderId,
    Place,
    Side,
    TimeInForce,
    encode_commands,
)
from dhtex.peer.orders import Ledger
from dhtex.peer.reports import OrderStatus
from dhtex.replication import CommandBatch

SPEC = MarketSpec("BTC-USD", lot_size="1")
OWN, OTHER = b"o" * 20, b"x" * 20


class Market:
    """An exchange fed by hand."""

    def __init__(self) -> None:
        self.exchange = Exchange(SPEC)
        self.position = 0

    def apply(self, origin: bytes, first_n: int, commands: Sequence[Command]) -> Applied:
        batch = CommandBatch(origin, first_n, len(commands), 1_000_000, encode_commands(commands))
        self.exchange.apply(batch, self.position + 1, 0)
        self.position += len(commands)
        return self.exchange.take_applied()[0]


def buy(quantity: int, price: int, force: TimeInForce = TimeInForce.GTC) -> Place:
    return Place(Side.BUY, quantity, price, time_in_force=force)


def sell(quantity: int, price: int) -> Place:
    return Place(Side.SELL, quantity, price)


async def test_a_run_becomes_final_as_one_with_a_result_for_each() -> None:
    market, ledger = Market(), Ledger(SPEC, OWN)
    market.apply(OTHER, 1, [sell(3, 50), sell(9, 60)])
    commands: list[Command] = [
        buy(2, 50),
        buy(2, 50),
        buy(5, 55, TimeInForce.IOC),
        Place(Side.BUY, 4, kind=Kind.MARKET),
        Cancel(OrderId(OWN, 2)),
        Cancel(OrderId(OTHER, 2)),
    ]
    run = ledger.add(1, commands)
    ledger.accept(6)
    await run.accepted()
    assert not run.is_final
    ledger.finalize(market.apply(OWN, 1, commands))
    results = await run.final()
    assert [result.status for result in results] == [
        OrderStatus.FILLED,
        OrderStatus.OPEN,
        OrderStatus.CANCELLED,
        OrderStatus.FILLED,
        OrderStatus.DONE,
        OrderStatus.REJECTED,
    ]
    assert [int(result.filled) for result in results] == [2, 1, 0, 4, 0, 0]
    assert [int(result.remaining) for result in results] == [0, 1, 0, 0, 0, 0]
    assert [result.reason for result in results] == [None, None, "unfilled", None, None, "not owner"]
    assert [result.position for result in results] == [3, 4, 5, 6, 7, 8]
    assert results[0].trades[0].maker == OrderId(OTHER, 1)
    assert len(ledger) == 0


async def test_runs_in_one_entry_and_runs_of_others() -> None:
    market, ledger = Market(), Ledger(SPEC, OWN)
    first, second = ledger.add(1, [buy(1, 50)]), ledger.add(2, [buy(1, 51), buy(1, 52)])
    third = ledger.add(4, [buy(1, 53)])
    ledger.finalize(market.apply(OTHER, 1, [sell(9, 99)]))
    assert not first.is_final
    ledger.finalize(market.apply(OWN, 1, [buy(1, 50), buy(1, 51), buy(1, 52)]))
    assert [str(result.order) for result in await second.final()] == [
        f"{OWN[:4].hex()}:2",
        f"{OWN[:4].hex()}:3",
    ]
    assert first.is_final
    assert not third.is_final
    assert [order.n for order, _ in ledger.pending()] == [4]


async def test_acceptance_comes_from_the_front() -> None:
    ledger = Ledger(SPEC, OWN)
    first, second = ledger.add(1, [buy(1, 50), buy(1, 50)]), ledger.add(3, [buy(1, 50)])
    ledger.accept(2)
    assert (first.is_accepted, second.is_accepted) == (True, False)
    ledger.accept(3)
    assert second.is_accepted


async def test_who_waits_is_woken_once_each() -> None:
    market, ledger = Market(), Ledger(SPEC, OWN)
    first, second = ledger.add(1, [buy(1, 50)]), ledger.add(2, [buy(1, 50)])
    waits = [
        asyncio.ensure_future(wait)
        for wait in (second.accepted(), first.accepted(), first.final(), first.final())
    ]
    await asyncio.sleep(0)
    ledger.accept(1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [wait.done() for wait in waits] == [False, True, False, False]
    ledger.finalize(market.apply(OWN, 1, [buy(1, 50), buy(1, 50)]))
    await asyncio.gather(*waits)


async def test_one_who_gives_up_waiting_stops_nobody_else_and_leaves_nothing() -> None:
    market, ledger = Market(), Ledger(SPEC, OWN)
    run = ledger.add(1, [buy(1, 50)])
    patient = [asyncio.ensure_future(wait) for wait in (run.accepted(), run.final())]
    for _ in range(100):
        for wait in (run.accepted(), run.final()):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(wait, 0)
    hasty = [asyncio.ensure_future(wait) for wait in (run.accepted(), run.final())]
    await asyncio.sleep(0)
    assert (len(ledger._waiters), len(run._waiters or ())) == (2, 2)
    for task in hasty:
        task.cancel()
    await asyncio.gather(*hasty, return_exceptions=True)
    assert (len(ledger._waiters), len(run._waiters or ())) == (1, 1)
    ledger.finalize(market.apply(OWN, 1, [buy(1, 50)]))
    await asyncio.gather(*patient)


async def test_what_history_dropped_is_said_not_guessed() -> None:
    ledger = Ledger(SPEC, OWN)
    first, second = ledger.add(1, [buy(1, 50)]), ledger.add(2, [buy(1, 50)])
    ledger.skip(1)
    await first.accepted()
    assert first.is_final
    with pytest.raises(FellBehind):
        await first.final()
    assert not second.is_final


async def test_a_closing_peer_tells_those_who_wait() -> None:
    ledger = Ledger(SPEC, OWN)
    run = ledger.add(1, [buy(1, 50)])
    accepted, final = asyncio.ensure_future(run.accepted()), asyncio.ensure_future(run.final())
    await asyncio.sleep(0)
    ledger.abandon()
    for wait in (accepted, final, run.accepted(), run.final()):
        with pytest.raises(NotRunning):
            await wait
    assert (run.is_accepted, run.is_final) == (False, False)


async def test_a_closing_peer_unsays_no_acceptance() -> None:
    ledger = Ledger(SPEC, OWN)
    run = ledger.add(1, [buy(1, 50)])
    ledger.accept(1)
    ledger.abandon()
    await run.accepted()
    with pytest.raises(NotRunning):
        await run.final()


async def test_how_many_are_pending_is_known_without_counting_them() -> None:
    class Uncounted(list[Command]):
        asked = 0

        def __len__(self) -> int:
            Uncounted.asked += 1
            return super().__len__()

    market, ledger = Market(), Ledger(SPEC, OWN)
    for n in range(1, 101):
        ledger.add(2 * n - 1, Uncounted([buy(1, 50), buy(1, 50)]))
    Uncounted.asked = 0
    assert len(ledger) == 200
    assert Uncounted.asked == 0, "a script that asks before every line would take quadratic time"
    ledger.finalize(market.apply(OWN, 1, [buy(1, 50)] * 20))
    assert len(ledger) == 180
    ledger.skip(100)
    assert len(ledger) == 100
    ledger.abandon()
    assert len(ledger) == 0
