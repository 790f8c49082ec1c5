"""The matching engine beside others from PyPI: equal commands, equal trades, one run, ratios.

    make bench-matching                         # installs the rivals into a scratch environment, runs, draws the plot
    python benchmarks/matching.py --rounds 3    # with what is installed here

What is timed:

* dhtex takes batches of encoded commands, as they come out of the log: decoding, matching, the canonical bytes of all
  events, and a digest over them are inside; event objects are made only for the row that says so.
* Rivals start from tuples of plain values and are called as their documentation shows, so making their order objects is
  inside; what they return is dropped at once. "bytes to digest" gives matching-engine, the fastest, the whole of
  dhtex's work: it decodes batches and digests its events through its own msgspec structures.
* "bare" is a price-time loop over tuples with nothing else in it: no owners, no limits, no events, no checks. It is
  the yardstick for the machine. Liquibook (C++), which no package registry offers, ran at 0.75 of such a loop and at
  3.8 times matching-engine where all were measured (1,230,000, 1,640,000 and 322,000 commands/s on one machine), so
  half of Liquibook is about 0.375 of "bare" and 1.9 of matching-engine.

Times are processor time of one core. The contestants take turns within each round; speeds are medians over the rounds,
and ratios are medians of what they were within one round, so that other work on the machine weighs on both. Every
contestant's trades (maker, price, quantity) are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import hashlib
import importlib.util
import json
import os
import platform
import random
import statistics
import time
import tracemalloc
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dhtex.matching import (
    Amend,
    Cancel,
    Limits,
    MarketSpec,
    MatchingEngine,
    OrderId,
    Place,
    SelfTrade,
    Side,
    TimeInForce,
    Trade,
    encode_commands,
)
from dhtex.matching.flow import Day, recorded_market

ROOT = Path(__file__).parents[1]
OWNER = b"benchmark of an eng."
BATCH = 100
MIDDLE = 100_000
LIMITS = Limits(orders=10_000_000, orders_per_account=10_000_000, levels=10_000_000)

# A command is (side, quantity, price, immediate or cancel); or (CANCEL, number of the order's command, from 1);
# or (REDUCE, that number, new whole quantity, lots taken away).
CANCEL, REDUCE = 2, 3
Command = tuple[int, ...]
MIX = "50 % rest, 40 % cancel, 10 % cross"
Fill = tuple[int, int, int]
"""Maker's number, price, quantity."""
Rates = dict[str, list[float]]
"""Contestant -> commands a second, round by round."""


class Bare:
    """A price-time loop with nothing else in it; also how the workloads know which orders are open."""

    def __init__(self) -> None:
        self.bids: list[int] = []
        self.asks: list[int] = []
        self.levels: dict[int, list[Any]] = {}
        self.open: dict[int, list[Any]] = {}
        self.count = 0

    def run(self, commands: Iterable[Command], fills: list[Fill] | None = None) -> None:
        bids, asks, levels, orders = self.bids, self.asks, self.levels, self.open
        number = self.count
        for command in commands:
            number += 1
            side = command[0]
            if side == CANCEL:
                node = orders.pop(command[1], None)
                if node is not None:
                    before, behind = node[0], node[1]
                    before[1] = behind
                    behind[0] = before
                    if before is behind:
                        key = before[3]
                        keys = bids if key > 0 else asks
                        if keys[-1] == key:
                            keys.pop()
                        else:
                            del keys[bisect_left(keys, key)]
                        del levels[key]
                        before.clear()
                continue
            if side == REDUCE:
                orders[command[1]][2] -= command[3]
                continue
            _, quantity, price, immediate = command
            key, own, other = (-price, asks, bids) if side else (price, bids, asks)
            while quantity and other and other[-1] + key >= 0:
                best = other[-1]
                level = levels[best]
                node = level[1]
                while node is not level and quantity:
                    have = node[2]
                    if fills is not None:
                        fills.append((node[4], abs(best), min(have, quantity)))
                    if have > quantity:
                        node[2] = have - quantity
                        quantity = 0
                        break
                    quantity -= have
                    del orders[node[4]]
                    node = node[1]
                level[1] = node
                node[0] = level
                if node is level:
                    other.pop()
                    del levels[best]
                    level.clear()
            if quantity and not immediate:
                level = levels.get(key)  # type: ignore[assignment]
                if level is None:
                    level = [None, None, 0, key]
                    level[0] = level[1] = level
                    levels[key] = level
                    insort(own, key)
                last = level[0]
                orders[number] = level[0] = last[1] = [last, level, quantity, key, number]
        self.count = number


@dataclass
class Workload:
    """Commands to fill the book with, untimed, and commands to time."""

    name: str
    fill: list[Command]
    timed: list[Command]

    @property
    def all(self) -> list[Command]:
        return self.fill + self.timed


def workload(
    name: str,
    *,
    resting: int,
    count: int,
    ticks: int,
    shares: tuple[float, float],
    taker_max: int = 100,
    reach: int = 30,
    near: int | None = None,
    seed: int = 1,
) -> Workload:
    """*resting* orders within *ticks* of the middle, then *count* commands: shares of resting ones and of cancels, the
    rest crossing by up to *reach* ticks. With *near* these rest within so many ticks and cancel one another, as most do
    in real markets; without, they touch the whole book alike."""
    draw = random.Random(seed)
    book, commands, live = Bare(), list[Command](), list[int]()

    def rest() -> Command:
        side, offset = draw.randint(0, 1), draw.randint(1, ticks)
        live.append(len(commands) + 1)
        return (side, draw.randint(1, 100), MIDDLE + offset if side else MIDDLE - offset, 0)

    def cancel() -> Command:
        while True:
            at = draw.randrange(len(live))
            live[at], live[-1] = live[-1], live[at]
            number = live.pop()
            if number in book.open:
                return (CANCEL, number)

    def cross() -> Command:
        side = draw.randint(0, 1)
        live.append(len(commands) + 1)
        return (side, draw.randint(1, taker_max), MIDDLE - reach if side else MIDDLE + reach, 0)

    for at in range(resting + count):
        if at == resting and near is not None:
            ticks = near
            live = live[-5_000:]
        roll = draw.random()
        if at < resting or roll < shares[0]:
            command = rest()
        elif roll < sum(shares):
            command = cancel()
        else:
            command = cross()
        commands.append(command)
        book.run([command])
    return Workload(name, commands[:resting], commands[resting:])


class Contestant(Protocol):
    """An engine in the race."""

    name: str

    def prepare(self, commands: Sequence[Command], first: int) -> Any:
        """Make what the engine takes, the first command having this number."""

    def run(self, prepared: Any) -> None:
        """Carry it out; this is timed."""

    def trades(self, prepared: Any) -> list[Fill]:
        """Carry it out and say who traded."""


class BareContestant:
    name = "bare loop"

    def __init__(self) -> None:
        self.bare = Bare()

    def prepare(self, commands: Sequence[Command], first: int) -> Any:
        return commands

    def run(self, prepared: Any) -> None:
        self.bare.run(prepared)

    def trades(self, prepared: Any) -> list[Fill]:
        fills: list[Fill] = []
        self.bare.run(prepared, fills)
        return fills


class Dhtex:
    """The engine as the replicated exchange uses it."""

    name = "dhtex"
    objects = False

    def __init__(self) -> None:
        self.engine = MatchingEngine(MarketSpec("BENCH", 1, 1, limits=LIMITS))
        self.digest = b""

    def prepare(self, commands: Sequence[Command], first: int) -> Any:
        encoded = []
        for at in range(0, len(commands), BATCH):
            part = [self._command(command) for command in commands[at : at + BATCH]]
            encoded.append((encode_commands(part), first + at, len(part)))
        return encoded

    @staticmethod
    def _command(command: Command) -> Place | Cancel | Amend:
        if command[0] == CANCEL:
            return Cancel(OrderId(OWNER, command[1]))
        if command[0] == REDUCE:
            return Amend(OrderId(OWNER, command[1]), command[2])
        force = TimeInForce.IOC if command[3] else TimeInForce.GTC
        # One owner for all, since rivals know none; so self-trade prevention is looked up and off.
        return Place(Side(command[0]), command[1], command[2], time_in_force=force, self_trade=SelfTrade.OFF)

    def run(self, prepared: Any) -> None:
        apply_batch, digest = self.engine.apply_batch, self.digest
        for batch, n, count in prepared:
            outcome = apply_batch(batch, owner=OWNER, first_n=n, count=count, timestamp=n, position=n)
            digest = hashlib.blake2b(digest + outcome.digest_bytes, digest_size=32).digest()
            if self.objects:
                outcome.events()
        self.digest = digest

    def trades(self, prepared: Any) -> list[Fill]:
        fills = []
        for batch, n, count in prepared:
            outcome = self.engine.apply_batch(
                batch, owner=OWNER, first_n=n, count=count, timestamp=n, position=n
            )
            fills += [(e.maker.n, e.price, e.quantity) for e in outcome.events() if isinstance(e, Trade)]
        return fills


class DhtexObjects(Dhtex):
    name = "dhtex, every event an object"
    objects = True


class PypiMatchingEngine:
    name = "matching-engine"

    def __init__(self) -> None:
        import matching_engine as rival  # noqa: PLC0415 - installed for the race only
        from matching_engine.engine import MatchingEngine as Rival  # noqa: PLC0415 - installed for the race only

        self.engine = Rival()
        self.sides = (rival.Side.BUY, rival.Side.SELL)
        self.place, self.cancel, self.sequenced = rival.NewOrder, rival.CancelOrder, rival.SequencedCommand

    def prepare(self, commands: Sequence[Command], first: int) -> Any:
        return commands, first

    def _events(self, prepared: Any) -> Iterator[list[Any]]:
        process, place, cancel, sequenced, sides = (
            self.engine.process,
            self.place,
            self.cancel,
            self.sequenced,
            self.sides,
        )
        commands, number = prepared
        for command in commands:
            if command[0] == CANCEL:
                made = cancel(command[1], command[1])
            else:
                side, quantity, price, _ = command
                # An account each: its self-trade prevention cannot be turned off.
                made = place(number, number, sides[side], price, quantity)
            yield process(sequenced(number, number, made))
            number += 1

    def run(self, prepared: Any) -> None:
        deque(self._events(prepared), maxlen=0)

    def trades(self, prepared: Any) -> list[Fill]:
        events = [event for events in self._events(prepared) for event in events]
        return [(e.maker_order_id, e.price, e.qty) for e in events if type(e).__name__ == "Trade"]


class PypiMatchingEngineBytes(PypiMatchingEngine):
    """The same work as dhtex does: batches come as bytes, their events leave as bytes and go into a digest."""

    name = "matching-engine, bytes to digest"

    def prepare(self, commands: Sequence[Command], first: int) -> Any:
        import msgspec  # noqa: PLC0415 - comes with the rival

        made = []
        for number, command in enumerate(commands, first):
            if command[0] == CANCEL:
                order = self.cancel(command[1], command[1])
            else:
                order = self.place(number, number, self.sides[command[0]], command[2], command[1])
            made.append(self.sequenced(number, number, order))
        encode = msgspec.msgpack.Encoder().encode
        return [encode(made[at : at + BATCH]) for at in range(0, len(made), BATCH)]

    def _events(self, prepared: Any) -> Iterator[list[Any]]:
        import msgspec  # noqa: PLC0415 - comes with the rival

        process, digest = self.engine.process, b""
        decode = msgspec.msgpack.Decoder(list[self.sequenced]).decode  # type: ignore[name-defined] # a class
        encode = msgspec.msgpack.Encoder().encode
        for batch in prepared:
            events = [event for command in decode(batch) for event in process(command)]
            digest = hashlib.blake2b(digest + encode(events), digest_size=32).digest()
            yield events


class PyOrderBook:
    name = "pyorderbook"

    def __init__(self) -> None:
        from pyorderbook import order  # noqa: PLC0415 - installed for the race only
        from pyorderbook.book import Book  # noqa: PLC0415 - installed for the race only

        self.book = Book()
        self.order = order.Order
        self.sides = (order.Side.BID, order.Side.ASK)
        self.orders: dict[int, Any] = {}  # it names orders by random ids of its own

    def prepare(self, commands: Sequence[Command], first: int) -> Any:
        return commands, first

    def _blotters(self, prepared: Any) -> Iterator[Any]:
        match, cancel, made, sides, orders = (
            self.book.match,
            self.book.cancel,
            self.order,
            self.sides,
            self.orders,
        )
        commands, number = prepared
        for command in commands:
            if command[0] == CANCEL:
                cancel(orders[command[1]])
            else:
                side, quantity, price, _ = command
                order = orders[number] = made(sides[side], "X", price, quantity)
                yield match(order)
            number += 1

    def run(self, prepared: Any) -> None:
        deque(self._blotters(prepared), maxlen=0)

    def trades(self, prepared: Any) -> list[Fill]:
        found = [trade for blotter in self._blotters(prepared) for trade in blotter.trades]
        numbers = {order.id: number for number, order in self.orders.items()}
        fills = []
        for trade in found:
            _, maker, quantity, price = list(vars(trade).values() if hasattr(trade, "__dict__") else trade)[
                :4
            ]
            fills.append((numbers[maker], int(price), quantity))
        return fills


class LightMatchingEngine:
    name = "lightmatchingengine"

    def __init__(self) -> None:
        from lightmatchingengine import lightmatchingengine as rival  # noqa: PLC0415 - installed for the race only

        self.engine = rival.LightMatchingEngine()
        self.ids: dict[int, int] = {}  # it numbers orders by itself, from 1

    def prepare(self, commands: Sequence[Command], first: int) -> Any:
        return commands, first

    def _results(self, prepared: Any) -> Iterator[Any]:
        add, cancel, ids = self.engine.add_order, self.engine.cancel_order, self.ids
        commands, number = prepared
        for command in commands:
            if command[0] == CANCEL:
                cancel(ids[command[1]], "X")
            else:
                side, quantity, price, _ = command
                result = add("X", price, quantity, side + 1)
                ids[number] = result[0].order_id
                yield result
            number += 1

    def run(self, prepared: Any) -> None:
        deque(self._results(prepared), maxlen=0)

    def trades(self, prepared: Any) -> list[Fill]:
        found = [(t, order.order_id) for order, trades in self._results(prepared) for t in trades]
        numbers = {rival: number for number, rival in self.ids.items()}
        return [(numbers[t.order_id], t.trade_price, t.trade_qty) for t, own in found if t.order_id != own]


class OrderMatching:
    name = "order-matching"

    def __init__(self) -> None:
        from loguru import logger  # noqa: PLC0415 - installed for the race only
        from order_matching.matching_engine import MatchingEngine as Rival  # noqa: PLC0415 - for the race only

        logger.remove()
        self.engine = Rival(seed=1)

    def prepare(self, commands: Sequence[Command], first: int) -> Any:
        from datetime import datetime, timedelta  # noqa: PLC0415 - for this rival only

        from order_matching.enums import Side as RivalSide  # noqa: PLC0415 - installed for the race only
        from order_matching.order import LimitOrder  # noqa: PLC0415 - installed for the race only
        from order_matching.orders import Orders  # noqa: PLC0415 - installed for the race only

        made: list[Any] = []
        start = datetime(2026, 1, 1)  # noqa: DTZ001 - it knows no time zones
        for number, command in enumerate(commands, first):
            if command[0] == CANCEL:
                made.append(str(command[1]))
                continue
            when = start + timedelta(seconds=number)
            order = LimitOrder(
                side=RivalSide.SELL if command[0] else RivalSide.BUY,
                price=command[2],
                size=command[1],
                timestamp=when,
                order_id=str(number),
                trader_id=str(number),
            )
            made.append((Orders([order]), when))
        return made

    def run(self, prepared: Any) -> None:
        self.trades(prepared)

    def trades(self, prepared: Any) -> list[Fill]:
        fills: list[Fill] = []
        for command in prepared:
            if isinstance(command, str):
                self.engine.cancel_order(command)
                continue
            orders, when = command
            self.engine.place(orders=orders)
            executed = self.engine.match(timestamp=when)
            fills += [(int(t.book_order_id), int(t.price), int(t.size)) for t in executed.trades]
        return fills


RIVALS: tuple[tuple[str, type[Any]], ...] = (
    ("matching_engine", PypiMatchingEngine),
    ("matching_engine", PypiMatchingEngineBytes),
    ("pyorderbook", PyOrderBook),
    ("lightmatchingengine", LightMatchingEngine),
)


@dataclass
class Result:
    """Commands per second of each contestant on each workload."""

    rates: dict[str, Rates] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def contestants() -> list[Callable[[], Contestant]]:
    found: list[Callable[[], Contestant]] = [BareContestant, Dhtex, DhtexObjects]
    return found + [kind for module, kind in RIVALS if importlib.util.find_spec(module)]


def compare_trades(load: Workload, made: Sequence[Callable[[], Contestant]], result: Result) -> None:
    """Equal work means equal trades; who disagrees is named and not timed."""
    expected = BareContestant().trades(load.all)
    for make in made:
        contestant = make()
        if contestant.trades(contestant.prepare(load.all, 1)) != expected:
            result.notes.append(
                f"{load.name}: {contestant.name} makes OTHER TRADES; its figure does not count"
            )
    result.notes.append(f"{load.name}: {len(load.timed):,} commands, {len(expected):,} trades")


def race(load: Workload, made: Sequence[Callable[[], Contestant]], rounds: int) -> Rates:
    """Commands a second of each contestant, round by round."""
    rates: Rates = {}
    for _ in range(rounds):
        for make in made:
            contestant = make()
            contestant.run(contestant.prepare(load.fill, 1))
            prepared = contestant.prepare(load.timed, len(load.fill) + 1)
            gc.collect()
            started = time.process_time()
            contestant.run(prepared)
            rates.setdefault(contestant.name, []).append(len(load.timed) / (time.process_time() - started))
    return rates


def ratio(rates: Rates, who: str, to: str) -> float:
    """How many times as fast as *to*: the median of the rounds."""
    return statistics.median(mine / theirs for mine, theirs in zip(rates[who], rates[to], strict=True))


def recorded_day(file: Path) -> Workload:
    """A recorded day as commands; what its checks say is tests/matching/test_flow.py's business."""
    day = Day(MatchingEngine(recorded_market("DAY")))
    commands: list[Command] = []
    flush = day._flush

    def keep() -> None:
        for _, command, _ in day._waiting:
            if isinstance(command, Place):
                immediate = int(command.time_in_force == TimeInForce.IOC or command.price is None)
                highest = 2**40 if command.side == Side.BUY else 1
                commands.append((int(command.side), command.quantity, command.price or highest, immediate))
            elif isinstance(command, Cancel) and command.order is not None:
                commands.append((CANCEL, command.order.n))
            elif isinstance(command, Amend) and command.quantity is not None:
                order = day.engine.order(command.order)
                taken = order.quantity - command.quantity if order is not None else 0
                commands.append((REDUCE, command.order.n, command.quantity, taken))
        flush()

    day._flush = keep  # type: ignore[method-assign] # listens to what goes to the engine
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for _ in day.play(lines):
            pass
    return Workload(file.name.split(".")[0], [], commands)


def slow_rival(result: Result) -> None:
    """order-matching walks its whole book for every order, so it gets a small one."""
    if not (importlib.util.find_spec("order_matching") and importlib.util.find_spec("polars")):
        return
    load = workload("mix, 200 orders", resting=200, count=300, ticks=100, shares=(0.5, 0.4))
    compare_trades(load, [OrderMatching], result)
    result.rates[load.name] = race(load, [BareContestant, Dhtex, OrderMatching], 1)


def memory_per_order(count: int) -> float:
    """Bytes that Python has allocated for each of *count* resting orders, indexes and levels included."""
    load = workload("memory", resting=count, count=0, ticks=5_000, shares=(1, 0))
    dhtex = Dhtex()
    prepared = dhtex.prepare(load.fill, 1)
    gc.collect()
    tracemalloc.start()
    dhtex.run(prepared)
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used / len(dhtex.engine)


def flat(sizes: Sequence[int], commands: int) -> dict[str, dict[int, float]]:
    """Microseconds a command of the mix with so many orders resting, ten a level."""
    found: dict[str, dict[int, float]] = {}
    for size in sizes:
        for where, near in (("all over the book", None), ("near the touch", 100)):
            load = workload(
                "flat", resting=size, count=commands, ticks=max(20, size // 20), shares=(0.5, 0.4), near=near
            )
            for name, rates in race(load, [BareContestant, Dhtex], 3).items():
                found.setdefault(f"{name}, {where}", {})[size] = 1e6 / statistics.median(rates)
    return found


def growth(size: int) -> dict[str, float]:
    """Microseconds an order that rests, from none to *size*, by what Python's garbage collector does meanwhile."""
    load = workload("growth", resting=size, count=0, ticks=max(20, size // 20), shares=(1, 0))
    found = {}
    for state, threshold in (
        ("as Python starts", gc.get_threshold()),
        ("off", (0,)),
        ("rare", (50_000, 50, 100)),
    ):
        usual = gc.get_threshold()
        dhtex = Dhtex()
        prepared = dhtex.prepare(load.fill, 1)
        gc.collect()
        gc.set_threshold(*threshold)
        started = time.process_time()
        dhtex.run(prepared)
        found[state] = 1e6 * (time.process_time() - started) / size
        gc.set_threshold(*usual)
    return found


def report(result: Result) -> None:
    for name, rates in result.rates.items():
        middle = {who: statistics.median(rounds) for who, rounds in rates.items()}
        rivals = [who for who in rates if who not in ("bare loop", "dhtex", DhtexObjects.name)]
        best = max(rivals, key=middle.__getitem__, default=None)
        print(f"\n{name}")
        for who, rate in sorted(middle.items(), key=lambda pair: -pair[1]):
            ratios = f"{ratio(rates, who, 'bare loop'):6.3f} x bare"
            if best is not None:
                ratios += f"   {ratio(rates, who, best):6.2f} x best rival"
            if PypiMatchingEngineBytes.name in rates:
                ratios += f"   {ratio(rates, who, PypiMatchingEngineBytes.name):6.2f} x it on equal work"
            print(f"  {who:32s} {rate:12,.0f} commands/s   {ratios}")
    print()
    for note in result.notes:
        print(note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commands", type=int, default=200_000, help="timed commands of each mix")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--days", type=Path, default=Path(os.environ.get("DHTEX_SHARED", ROOT.parent / "shared"))
    )
    parser.add_argument(
        "--flat", type=int, default=1_000_000, help="most resting orders of the flat-cost rows; 0: none"
    )
    parser.add_argument("--json", type=Path, help="write all figures here, for plot_matching.py")
    options = parser.parse_args()
    result, count = Result(), options.commands
    usual = (0.5, 0.4)
    loads = [
        workload(f"mix, {MIX}, 5,000 orders", resting=5_000, count=count, ticks=100, shares=usual),
        workload(
            "match-heavy: 65 % rest, 35 % cross",
            resting=5_000,
            count=count,
            ticks=100,
            shares=(0.65, 0),
            taker_max=190,
        ),
        workload(f"deep, {MIX}, 100,000 orders", resting=100_000, count=count, ticks=5_000, shares=usual),
    ]
    for load in loads:
        compare_trades(load, contestants(), result)
        result.rates[load.name] = race(load, contestants(), options.rounds)
    for file in sorted((options.days / "data" / "order-flow").glob("*.jsonl.gz")):
        load = recorded_day(file)
        made: list[Callable[[], Contestant]] = [BareContestant, Dhtex]
        compare_trades(load, made, result)
        result.rates[f"recorded day: {load.name}"] = race(load, made, options.rounds)
    slow_rival(result)
    result.notes.append(f"memory per resting order: {memory_per_order(200_000):,.0f} bytes")
    sizes = [
        size for size in (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000) if size <= options.flat
    ]
    costs = flat(sizes, 50_000)
    for name, by_size in costs.items():
        result.notes += [
            f"{name}, {size:,} orders resting: {cost:.2f} µs a command" for size, cost in by_size.items()
        ]
    if options.flat:
        result.notes += [
            f"growing to {options.flat:,} orders, garbage collector {state}: {cost:.2f} µs an order"
            for state, cost in growth(options.flat).items()
        ]
    print(f"Python {platform.python_version()}, {platform.machine()}, {platform.system()}")
    report(result)
    if options.json:
        options.json.write_text(
            json.dumps({"rates": result.rates, "notes": result.notes, "flat": costs}, indent=1)
        )


if __name__ == "__main__":
    main()
