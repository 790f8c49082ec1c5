"""A market under test: short names for what most tests need."""

from __future__ import annotations

import os
from pathlib import Path

from dhtex.matching import (
    Command,
    Event,
    Limits,
    MarketSpec,
    MatchingEngine,
    OrderId,
    Phase,
    Place,
    Rejected,
    RejectReason,
    Side,
    Trade,
)
from dhtex.matching.audit import audit

ALICE = b"alice".ljust(20, b"\0")
BOB = b"bob".ljust(20, b"\0")
OPERATOR = b"operator".ljust(20, b"\0")

SCENARIOS = Path(__file__).parent / "scenarios"


def shared_data() -> Path:
    """The folder of recorded days: beside the checkout, or where DHTEX_SHARED says."""
    beside = Path(__file__).parents[3] / "shared"
    return Path(os.environ.get("DHTEX_SHARED", beside)) / "data" / "order-flow"


class Market:
    """An engine that counts numbers, positions and time by itself, and is audited after every command."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        opening: Phase = Phase.CONTINUOUS,
        dynamic_band_bps: int = 0,
        static_band_bps: int = 0,
    ) -> None:
        self.spec = MarketSpec(
            "TEST",
            1,
            1,
            limits=limits,
            opening=opening,
            operator=OPERATOR,
            dynamic_band_bps=dynamic_band_bps,
            static_band_bps=static_band_bps,
        )
        self.engine = MatchingEngine(self.spec)
        self.time = 1
        self._numbers: dict[bytes, int] = {}

    def do(self, command: Command, owner: bytes = ALICE) -> tuple[Event, ...]:
        """Carry out a command under the owner's next number."""
        n = self._numbers[owner] = self._numbers.get(owner, 0) + 1
        events = self.engine.apply(command, owner=owner, n=n, timestamp=self.time)
        audit(self.engine)
        return events

    def buy(self, quantity: int, price: int, owner: bytes = ALICE) -> OrderId:
        """Place a plain buy; gives its id."""
        self.do(Place(Side.BUY, quantity, price), owner)
        return OrderId(owner, self._numbers[owner])

    def sell(self, quantity: int, price: int, owner: bytes = ALICE) -> OrderId:
        """Place a plain sell; gives its id."""
        self.do(Place(Side.SELL, quantity, price), owner)
        return OrderId(owner, self._numbers[owner])

    def refusal(self, command: Command, owner: bytes = ALICE) -> RejectReason | None:
        """Why the market refuses a command, having checked that nothing but the numbers changed; `None` if not."""
        before = (self.engine.depth(), list(self.engine.orders()), self.engine.last_price, self.engine.phase)
        events = self.do(command, owner)
        rejected = [event for event in events if isinstance(event, Rejected)]
        if not rejected:
            return None
        assert len(events) == 1
        after = (self.engine.depth(), list(self.engine.orders()), self.engine.last_price, self.engine.phase)
        assert before == after
        return rejected[0].reason


def trades(events: tuple[Event, ...]) -> list[tuple[int, int]]:
    """(price, quantity) of each trade."""
    return [(event.price, event.quantity) for event in events if isinstance(event, Trade)]
