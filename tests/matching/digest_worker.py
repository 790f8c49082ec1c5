"""Prints the digests of a fixed run with orders of every kind; started by test_determinism.py in other interpreters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from dhtex.matching import (
    Amend,
    Cancel,
    CancelAll,
    Command,
    Kind,
    MarketSpec,
    MatchingEngine,
    OrderId,
    Phase,
    Place,
    SelfTrade,
    SetPhase,
    Side,
    TimeInForce,
    encode_commands,
)

NODES = [bytes([letter]) * 20 for letter in b"ABC"]
SPEC = MarketSpec("TEST", 1, 1, operator=NODES[0], dynamic_band_bps=900, pause_us=20)
BATCHES = 400


class Dice:
    """Numbers that are the same in every version of every interpreter."""

    def __init__(self) -> None:
        self.state = 1

    def roll(self, sides: int) -> int:
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % sides


def commands(dice: Dice, time: int, n_max: int) -> Iterator[Command]:
    for _ in range(1 + dice.roll(5)):
        side, price, lots = Side(dice.roll(2)), 90 + dice.roll(20), 2 + dice.roll(15)
        mode = SelfTrade(dice.roll(5))
        of = OrderId(NODES[dice.roll(3)], max(1, n_max - dice.roll(15)))
        force: dict[str, Any] = (
            {"time_in_force": TimeInForce.GTD, "expiry": time + dice.roll(40)} if dice.roll(3) == 0 else {}
        )
        match dice.roll(15):
            case 0:
                yield Place(side, lots, kind=Kind.MARKET, self_trade=mode)
            case 1:
                yield Place(side, lots, kind=Kind.STOP, trigger=price, self_trade=mode, **force)
            case 2:
                yield Place(side, lots, kind=Kind.TRAILING_STOP, trail=1 + dice.roll(9))
            case 3:
                yield Place(side, lots, price, display=2, self_trade=mode)
            case 4:
                yield Place(side, lots, price, all_or_none=True, **force)
            case 5:
                yield Place(side, lots, price, account="é", **force)
            case 6:
                yield Place(side, lots, price, time_in_force=TimeInForce.FOK, tag="t")
            case 7:
                yield Amend(of, lots, price if dice.roll(2) else None)
            case 8:
                yield Cancel(of)
            case 9:
                yield CancelAll(side) if dice.roll(9) == 0 else SetPhase(Phase(dice.roll(2)))
            case 10:
                trigger = 90 + dice.roll(20)
                yield Place(side, lots, price, Kind.STOP_LIMIT, trigger=trigger, self_trade=mode, **force)
            case _:
                yield Place(side, lots, price, self_trade=mode)


def run() -> str:
    """The digest of all events and of the state at the end, and how many events there were."""
    dice, engine, events = Dice(), MatchingEngine(SPEC), 0
    numbers = dict.fromkeys(NODES, 0)
    chain = hashlib.blake2b(digest_size=32)
    for time in range(1, BATCHES + 1):
        owner = NODES[dice.roll(3)]
        batch = list(commands(dice, time, numbers[owner]))
        outcome = engine.apply_batch(
            encode_commands(batch),
            owner=owner,
            first_n=numbers[owner] + 1,
            count=len(batch),
            timestamp=time,
            position=engine.position + 1,
        )
        numbers[owner] += len(batch)
        chain.update(outcome.digest_bytes)
        events += len(outcome.events())
        again = MatchingEngine(SPEC)
        if time % 50 == 0:
            again.restore(engine.snapshot())
            engine = again
    return f"{chain.hexdigest()} {engine.digest().hex()} {events}"


if __name__ == "__main__":
    print(run())
