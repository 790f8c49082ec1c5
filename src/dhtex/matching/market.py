"""What is traded and on what terms: the one place where text becomes whole numbers, and back.

A `MarketSpec` is part of its group's identity: every field goes into `canonical()`, whose hash is the group
id, so replicas that disagree on a tick or a limit never meet. Inside the engine there are only ticks and
lots.
Source: `design: matching, Numbers`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from enum import IntEnum
from typing import Final

import msgpack

from dhtex.errors import MarketError, OrderError

MAX_INTEGER: Final = 2**63 - 1
"""The highest price in ticks, quantity in lots, order number, timestamp and expiry."""

NODE_ID_SIZE: Final = 20
GROUP_ID_SIZE: Final = 20
BPS: Final = 10_000
"""Basis points in one; the bands are stated in them."""

_FORMAT: Final = 1
_PLAIN_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)
_NUMBER_LENGTH_MAX: Final = 64  # 2**63 - 1 has 19 digits; nobody trades in more than 40 decimals
_SYMBOL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,31}", re.ASCII)

Number = str | Decimal | int
"""How people may write a number. Never `float`: 0.1 + 0.2 is not 0.3 there."""


class Phase(IntEnum):
    """What the market does with orders; changed by the operator and by price bands, never by a timer."""

    CONTINUOUS = 0
    """Orders match as they come."""
    AUCTION = 1
    """Orders gather without matching, the book may cross; leaving the phase for CONTINUOUS uncrosses it."""
    HALTED = 2
    """Nothing new comes in and nothing matches; orders can be cancelled, and expire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What keeps a replica alive; part of the spec, so that all replicas refuse alike.

    Attributes:
        orders: open orders in all.
        orders_per_account: open orders of one account of one node.
        levels: distinct prices with orders in the book, both sides together.
        text: bytes of an account or a client tag in UTF-8.
        slices: how many displayed slices an iceberg may have, so that one taker's work is bounded.
        contingent: open trailing stops and all-or-none orders, in all: these are looked at one by one.
        quantity: lots of one order.
        price: ticks of one order.
    """

    orders: int = 1_000_000
    orders_per_account: int = 100_000
    levels: int = 100_000
    text: int = 64
    slices: int = 100
    contingent: int = 64
    quantity: int = MAX_INTEGER
    price: int = MAX_INTEGER

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or not 0 < value <= MAX_INTEGER:
                raise MarketError(
                    f"limit {field.name} is {value!r}; it must be a whole number from 1 to 2**63 - 1"
                )


@dataclass(frozen=True, slots=True)
class MarketSpec:
    """A market: its symbol, its tick and lot, and the terms that all replicas share.

    Attributes:
        symbol: 1 to 32 of letters, digits, `.`, `_`, `:`, `/` and `-`, such as `BTC-USD`.
        tick_size: the smallest price step, positive, as text, `Decimal` or `int`.
        lot_size: the smallest quantity step, likewise.
        limits: what the market refuses.
        opening: the phase in which the market is born.
        operator: the 20-byte node id that may change the phase; empty for nobody.
        dynamic_band_bps: a trade further than this from the last trade price, above or below, pauses matching; 0 for
            no band.
        static_band_bps: the same, from the price of the last auction or, before one, of the first trade.
        pause_us: microseconds of log time for which a band gathers orders before it uncrosses them.

    Raises:
        MarketError: a field makes no sense; the sentence names it.
    """

    symbol: str
    tick_size: Decimal = Decimal("0.01")
    lot_size: Decimal = Decimal("0.00000001")
    limits: Limits = Limits()
    opening: Phase = Phase.CONTINUOUS
    operator: bytes = b""
    dynamic_band_bps: int = 0
    static_band_bps: int = 0
    pause_us: int = 60_000_000

    def __init__(
        self,
        symbol: str,
        tick_size: Number = "0.01",
        lot_size: Number = "0.00000001",
        *,
        limits: Limits | None = None,
        opening: Phase = Phase.CONTINUOUS,
        operator: bytes = b"",
        dynamic_band_bps: int = 0,
        static_band_bps: int = 0,
        pause_us: int = 60_000_000,
    ) -> None:
        if not _SYMBOL.fullmatch(symbol):
            raise MarketError(
                f"symbol {symbol!r} is not 1 to 32 letters, digits and . _ : / -, such as BTC-USD"
            )
        for name, bps in (("dynamic_band_bps", dynamic_band_bps), ("static_band_bps", static_band_bps)):
            if type(bps) is not int or not 0 <= bps <= BPS:
                raise MarketError(
                    f"{name} is {bps!r}; it must be a whole number from 0 to {BPS} basis points"
                )
        if type(pause_us) is not int or not 0 < pause_us <= MAX_INTEGER:
            raise MarketError(f"pause_us is {pause_us!r}; it must be a positive whole number of microseconds")
        if len(operator) not in (0, NODE_ID_SIZE):
            raise MarketError(f"the operator is a node id of {NODE_ID_SIZE} bytes, or empty for none")
        values = {
            "symbol": symbol,
            "tick_size": _step("tick size", tick_size),
            "lot_size": _step("lot size", lot_size),
            "limits": limits if limits is not None else Limits(),
            "opening": opening,
            "operator": operator,
            "dynamic_band_bps": dynamic_band_bps,
            "static_band_bps": static_band_bps,
            "pause_us": pause_us,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def price(self, number: Number) -> int:
        """A price as people write it, in ticks: from 1 to the market's highest.

        Raises:
            OrderError: not a number, not positive, off the tick, or too high; nothing is rounded.
        """
        return _steps("price", number, "tick", self.tick_size, self.limits.price)

    def quantity(self, number: Number) -> int:
        """A quantity as people write it, in lots: from 1 to the market's highest.

        Raises:
            OrderError: not a number, not positive, off the lot, or too high; nothing is rounded.
        """
        return _steps("quantity", number, "lot", self.lot_size, self.limits.quantity)

    def format_price(self, ticks: int) -> str:
        """*ticks* in full, with the decimals of the tick: `49.50`."""
        return format(_times(ticks, self.tick_size), "f")

    def format_quantity(self, lots: int) -> str:
        """*lots* without trailing zeros: `0.5`, `100`."""
        text = format(_times(lots, self.lot_size), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text

    @classmethod
    def from_canonical(cls, data: bytes) -> MarketSpec:
        """The market whose `canonical` bytes *data* are.

        Raises:
            MarketError: there is none in this version.
        """
        names = [field.name for field in fields(Limits)]
        try:
            _, symbol, tick, lot, limits, opening, operator, dynamic, static, pause = msgpack.unpackb(data)
            spec = cls(
                symbol,
                Decimal(tick),
                Decimal(lot),
                limits=Limits(**dict(zip(names, limits, strict=True))),
                opening=Phase(opening),
                operator=operator,
                dynamic_band_bps=dynamic,
                static_band_bps=static,
                pause_us=pause,
            )
        except (ValueError, TypeError, ArithmeticError, msgpack.UnpackException) as error:
            raise MarketError(
                "these are not the terms of a market in a way that this version knows"
            ) from error
        if spec.canonical() != data:
            raise MarketError("these are the terms of a market of another version")
        return spec

    def canonical(self) -> bytes:
        """Every field as bytes; equal specs give equal bytes on every machine.

        One msgpack array: 1, symbol, tick and lot in lowest terms as `str(Decimal)` spells them (0.01, 1E-8), limits in
        their order above, opening, operator, both bands, pause.
        """
        limits = [getattr(self.limits, field.name) for field in fields(Limits)]
        return bytes(
            msgpack.packb(
                [
                    _FORMAT,
                    self.symbol,
                    str(self.tick_size),
                    str(self.lot_size),
                    limits,
                    int(self.opening),
                    self.operator,
                    self.dynamic_band_bps,
                    self.static_band_bps,
                    self.pause_us,
                ]
            )
        )

    @property
    def group_id(self) -> bytes:
        """BLAKE2b-160 of `canonical()`, 20 bytes: the name of the group that replicates this market."""
        return hashlib.blake2b(self.canonical(), digest_size=GROUP_ID_SIZE).digest()


def _decimal(name: str, number: Number) -> Decimal:
    """*number* exactly, or a sentence."""
    if isinstance(number, float):
        raise OrderError(f"{name} {number!r} is a float, which is not exact; give it as text, Decimal or int")
    if isinstance(number, bool) or not isinstance(number, str | Decimal | int):
        raise OrderError(f"{name} {number!r} is not a number; give it as text, Decimal or int")
    if isinstance(number, int):
        if abs(number).bit_length() > 128:  # str() of a huge int is slow, and refused beyond 4300 digits
            raise OrderError(f"{name} is far too large")
        return Decimal(number)
    if isinstance(number, str):
        text = number.strip()
        if not text:
            raise OrderError(f"{name} is missing")
        shown = text if len(text) <= _NUMBER_LENGTH_MAX else text[:_NUMBER_LENGTH_MAX] + "…"
        if len(text) > _NUMBER_LENGTH_MAX or not _PLAIN_NUMBER.fullmatch(text):
            raise OrderError(f"{name} {shown!r} is not a plain decimal number, such as 49.5")
        try:
            return Decimal(text)
        except (
            InvalidOperation
        ) as error:  # unreachable for what the pattern lets through; kept for other Pythons
            raise OrderError(f"{name} {shown!r} is not a number") from error
    if not number.is_finite():
        raise OrderError(f"{name} {number} is not a finite number")
    exponent = number.as_tuple().exponent
    # Bounds the integers below; Decimal("1E+999999") would otherwise take a megabyte and a second.
    if (
        not isinstance(exponent, int)
        or number.adjusted() > _NUMBER_LENGTH_MAX
        or exponent < -_NUMBER_LENGTH_MAX
    ):
        raise OrderError(f"{name} {number} is out of range")
    return number


def _step(name: str, number: Number) -> Decimal:
    """A tick or lot size in lowest terms: 0.010 and 0.01 are one market, 1E+2 and 100 too."""
    try:
        value = _decimal(name, number)
    except OrderError as error:
        raise MarketError(str(error)) from error
    if value <= 0:
        raise MarketError(f"{name} {value:f} is not positive")
    text = format(value, "f")
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)


def _steps(name: str, number: Number, step_name: str, step: Decimal, highest: int) -> int:
    """How many whole *step*s make *number*; whole-number arithmetic, so no decimal context has a say."""
    value = _decimal(name, number)
    if value <= 0:
        raise OrderError(f"{name} {value:f} is not positive")
    top, bottom = value.as_integer_ratio()
    step_top, step_bottom = step.as_integer_ratio()
    count, rest = divmod(top * step_bottom, bottom * step_top)
    if rest:
        raise OrderError(f"{name} {value:f} is not a multiple of the {step_name} {step:f}")
    if count > highest:
        raise OrderError(f"{name} {value} is above the market's highest, {_times(highest, step):f}")
    return count


def _times(count: int, step: Decimal) -> Decimal:
    """*count* steps, exactly: `Decimal` multiplication would round to its context."""
    _, digits, exponent = step.as_tuple()
    scaled = count * int("".join(map(str, digits)))
    return Decimal((int(scaled < 0), tuple(map(int, str(abs(scaled)))), int(exponent)))
