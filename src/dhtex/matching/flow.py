"""Recorded order flow: real days as streams of commands, with the fills that the real exchange made.

One JSON object a line. `op` is `add` (rests without crossing), `submit` (limit, or market where `px` is null), `take`
(the same, immediate or cancel), `cancel`, `reduce` (by a quantity, priority kept) or `check` (depth); `side` 1 buys, −1
sells; `px`, `qty` and a reduction's `by` are whole numbers; an `id` is a number or a text, and may come again once its
order is gone; `expect` lists `[maker id, quantity, price]` in the order of the fills; `bids` and `asks` of a check are
`[price, quantity]`, best first, as many levels as it wants compared. Other fields are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from dhtex.errors import OrderError
from dhtex.matching.batch import Batch
from dhtex.matching.commands import (
    Amend,
    Cancel,
    Command,
    Kind,
    OrderId,
    Place,
    SelfTrade,
    Side,
    TimeInForce,
    encode_commands,
)
from dhtex.matching.engine import MatchingEngine
from dhtex.matching.events import Rejected, Trade
from dhtex.matching.market import MAX_INTEGER, Limits, MarketSpec

RECORDER: Final = b"recorded order flow."
"""The node whose commands a recorded day's are, 20 bytes; self-trade prevention is off."""

BATCH_MAX: Final = 256

_SIDES: Final = {1: Side.BUY, -1: Side.SELL}


def recorded_market(symbol: str) -> MarketSpec:
    """A market for a recorded day: ticks and lots of 1, and all the room that the real exchange may have had.

    All orders of a recording are one account's, so the usual limit on an account would be one on the whole book.
    """
    room = Limits(orders=MAX_INTEGER, orders_per_account=MAX_INTEGER, levels=MAX_INTEGER)
    return MarketSpec(symbol, tick_size=1, lot_size=1, limits=room)


class Difference(NamedTuple):
    """Where the engine and the recording disagree.

    Attributes:
        line: of the recording, from 1.
        expected: what it says.
        found: what the engine says.
    """

    line: int
    expected: str
    found: str


@dataclass
class DayReport:
    """What became of a recorded day.

    Attributes:
        commands: applied so far.
        trades: made by them.
        fills: expectations of fills compared.
        checks: expectations of depth compared.
        differences: between the two, in order.
    """

    commands: int = 0
    trades: int = 0
    fills: int = 0
    checks: int = 0
    differences: list[Difference] = field(default_factory=list)


class Day:
    """Feeds a recording to an engine, a batch at a time, and compares.

    Args:
        engine: without open orders; its market is a `recorded_market`.
    """

    def __init__(self, engine: MatchingEngine) -> None:
        self.engine = engine
        self.report = DayReport()
        self._numbers: dict[int | str, int] = {}  # the recording's id -> our n
        self._ids: dict[int, int | str] = {}  # our n -> the recording's id
        self._n = 0
        self._waiting: list[tuple[int, Command, list[Any] | None]] = []

    def play(self, lines: Iterable[str]) -> Iterator[DayReport]:
        """Feed all lines, giving the report so far after each batch, and at the end.

        Raises:
            OrderError: a line is not one of a recording.
        """
        for number, line in enumerate(lines, 1):
            try:
                self._read(number, json.loads(line))
            except KeyError as error:
                raise OrderError(f"line {number} is not one of a recorded day: it has no {error}") from error
            except (ValueError, TypeError, RecursionError) as error:
                raise OrderError(f"line {number} is not one of a recorded day: {error}") from error
            if len(self._waiting) >= BATCH_MAX:
                self._flush()
                yield self.report
        self._flush()
        yield self.report

    def _read(self, number: int, record: dict[str, Any]) -> None:
        match record["op"]:
            case "add" | "submit" | "take" as operation:
                self._n += 1
                if "id" in record:
                    self._numbers[record["id"]] = self._n
                    self._ids[self._n] = record["id"]
                expect = [] if operation == "add" else record.get("expect")
                self._waiting.append((number, _place(record), expect))
            case "cancel":
                n = self._numbers.get(record["id"])
                if n is not None:
                    self._n += 1
                    self._waiting.append((number, Cancel(OrderId(RECORDER, n)), []))
            case "reduce":
                self._reduce(number, record)
            case "check":
                self._flush()
                self._check(number, record)
            case operation:
                raise ValueError(f"unknown operation {operation!r}")

    def _reduce(self, number: int, record: dict[str, Any]) -> None:
        """By a quantity: what is left decides between less of it and none."""
        self._flush()
        by = _whole(record, "by")
        if by < 0:
            raise ValueError(f"an order cannot be reduced by {by}")
        n = self._numbers.get(record["id"], 0)
        order = self.engine.order(OrderId(RECORDER, n))
        if order is None:
            return
        self._n += 1
        if order.remaining <= by:
            self._waiting.append((number, Cancel(order.id), []))
        else:
            self._waiting.append((number, Amend(order.id, order.quantity - by), []))

    def _flush(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        first_n = self._n - len(waiting) + 1
        position = self.engine.position + 1
        batch = self.engine.apply_batch(
            encode_commands([command for _, command, _ in waiting]),
            owner=RECORDER,
            first_n=first_n,
            count=len(waiting),
            timestamp=position,
            position=position,
        )
        self.report.commands += len(waiting)
        self._compare(waiting, batch)

    def _compare(self, waiting: list[tuple[int, Command, list[Any] | None]], batch: Batch) -> None:
        fills: list[list[list[int | str]]] = [[] for _ in waiting]
        for event in batch.events():
            at = event.position - batch.position
            if isinstance(event, Trade):
                maker = self._ids.get(event.maker.n, event.maker.n)
                fills[at].append([maker, event.quantity, event.price])
                self.report.trades += 1
            elif isinstance(event, Rejected) and isinstance(waiting[at][1], Place):
                difference = Difference(waiting[at][0], "accepted", f"rejected: {event.reason.name}")
                self.report.differences.append(difference)
        for (line, command, expected), found in zip(waiting, fills, strict=True):
            if expected is not None:
                self.report.fills += isinstance(command, Place)
                if expected != found:
                    self.report.differences.append(Difference(line, str(expected), str(found)))

    def _check(self, number: int, record: dict[str, Any]) -> None:
        expected = {side: [tuple(level) for level in record[side]] for side in ("bids", "asks")}
        self.report.checks += 1
        for side, levels in expected.items():
            found = getattr(self.engine.depth(len(levels)), side)
            # The first will do: books are deep, and those behind it are often wrong too.
            for at, (wanted, there) in enumerate(zip_longest(levels, found), 1):
                if wanted != there:
                    said = f"level {at} of the {side}"
                    self.report.differences.append(Difference(number, f"{said} {wanted}", f"{there}"))
                    break


def _place(record: dict[str, Any]) -> Place:
    if record["side"] not in _SIDES:
        raise ValueError(f"side is {record['side']!r:.40}; it must be 1, which buys, or -1, which sells")
    price = None if record["px"] is None else _whole(record, "px")
    return Place(
        side=_SIDES[record["side"]],
        quantity=_whole(record, "qty"),
        price=price,
        kind=Kind.MARKET if price is None else Kind.LIMIT,
        time_in_force=TimeInForce.IOC if record["op"] == "take" else TimeInForce.GTC,
        self_trade=SelfTrade.OFF,
    )


def _whole(record: dict[str, Any], name: str) -> int:
    value = record[name]
    if type(value) is not int or abs(value) > MAX_INTEGER:
        raise ValueError(f"{name} is {value!r:.40}; it must be a whole number below 2**63")
    return value
