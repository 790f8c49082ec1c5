"""Text to whole numbers and back, once, at the edge."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtex.errors import MarketError, OrderError
from dhtex.matching import Limits, MarketSpec, Phase
from dhtex.matching.market import MAX_INTEGER

SPEC = MarketSpec("BTC-USD")


@pytest.mark.parametrize(
    ("text", "ticks"),
    [
        ("49.5", 4950),
        ("0.01", 1),
        ("1", 100),
        (".5", 50),
        ("5.", 500),
        ("+2", 200),
        ("000.10", 10),
        (" 7 ", 700),
    ],
)
def test_price_in_ticks(text: str, ticks: int) -> None:
    assert SPEC.price(text) == ticks
    assert SPEC.price(Decimal(text.strip())) == ticks


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        ("", "price is missing"),
        ("   ", "price is missing"),
        ("x", "price 'x' is not a plain decimal number, such as 49.5"),
        ("1e400", "price '1e400' is not a plain decimal number, such as 49.5"),
        ("NaN", "price 'NaN' is not a plain decimal number, such as 49.5"),
        ("Infinity", "price 'Infinity' is not a plain decimal number, such as 49.5"),
        ("1_000", "price '1_000' is not a plain decimal number, such as 49.5"),
        ("1,5", "price '1,5' is not a plain decimal number, such as 49.5"),
        ("１", "price '１' is not a plain decimal number, such as 49.5"),
        ("0x10", "price '0x10' is not a plain decimal number, such as 49.5"),
        ("-1", "price -1 is not positive"),
        ("0", "price 0 is not positive"),
        ("-0", "price -0 is not positive"),
        ("1.005", "price 1.005 is not a multiple of the tick 0.01"),
        (
            0.1 + 0.2,
            "price 0.30000000000000004 is a float, which is not exact; give it as text, Decimal or int",
        ),
        (True, "price True is not a number; give it as text, Decimal or int"),
        (None, "price None is not a number; give it as text, Decimal or int"),
        (Decimal("NaN"), "price NaN is not a finite number"),
        (Decimal("sNaN"), "price sNaN is not a finite number"),
        (Decimal("1E+999999"), "price 1E+999999 is out of range"),
        (Decimal("1E-999999"), "price 1E-999999 is out of range"),
        (10**60, "price is far too large"),
        (
            "92233720368547758.08",
            "price 92233720368547758.08 is above the market's highest, 92233720368547758.07",
        ),
    ],
)
def test_a_bad_price_gets_a_sentence(number: Any, sentence: str) -> None:
    with pytest.raises(OrderError) as caught:
        SPEC.price(number)
    assert str(caught.value) == sentence


def test_a_long_text_is_shortened_in_the_sentence() -> None:
    with pytest.raises(OrderError, match="…"):
        SPEC.price("9" * 10_000)


def test_quantity_in_lots() -> None:
    assert SPEC.quantity("0.5") == 50_000_000
    assert SPEC.quantity(100) == 10_000_000_000
    with pytest.raises(OrderError, match=r"quantity 0\.000000001 is not a multiple of the lot 0\.00000001"):
        SPEC.quantity("0.000000001")


def test_the_highest_numbers_pass() -> None:
    whole = MarketSpec("X", 1, 1)
    assert whole.price(MAX_INTEGER) == MAX_INTEGER
    with pytest.raises(OrderError):
        whole.price(MAX_INTEGER + 1)
    assert MarketSpec("X", 1, 1, limits=Limits(quantity=5)).quantity(5) == 5
    with pytest.raises(OrderError, match="above the market's highest, 5"):
        MarketSpec("X", 1, 1, limits=Limits(quantity=5)).quantity(6)


@pytest.mark.parametrize(
    ("tick", "ticks", "text"),
    [("0.01", 4950, "49.50"), ("0.25", 3, "0.75"), (5, 3, "15"), ("0.00000001", 1, "0.00000001")],
)
def test_prices_show_the_decimals_of_the_tick(tick: str | int, ticks: int, text: str) -> None:
    assert MarketSpec("X", tick).format_price(ticks) == text


@pytest.mark.parametrize(
    ("lots", "text"), [(50_000_000, "0.5"), (10**10, "100"), (1, "0.00000001"), (0, "0")]
)
def test_quantities_show_no_trailing_zeros(lots: int, text: str) -> None:
    assert SPEC.format_quantity(lots) == text


@given(
    ticks=st.integers(1, MAX_INTEGER),
    tick=st.sampled_from(["1", "0.01", "0.05", "2.5", "0.00000001", "1000", "0.125"]),
)
def test_what_is_shown_reads_back_exactly(ticks: int, tick: str) -> None:
    spec = MarketSpec("X", tick, tick)
    assert spec.price(spec.format_price(ticks)) == ticks
    assert spec.quantity(spec.format_quantity(ticks)) == ticks


@pytest.mark.parametrize(
    "change",
    [
        {"symbol": "BTC-EUR"},
        {"tick_size": "0.1"},
        {"lot_size": "0.1"},
        {"limits": Limits(orders=5)},
        {"opening": Phase.AUCTION},
        {"operator": b"o" * 20},
        {"dynamic_band_bps": 1},
        {"static_band_bps": 1},
        {"pause_us": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_is_part_of_the_group_id(change: dict[str, Any]) -> None:
    assert len(SPEC.group_id) == 20
    assert MarketSpec(**{"symbol": "BTC-USD", **change}).group_id != SPEC.group_id


def test_canonical_bytes_are_what_they_were() -> None:
    assert SPEC.canonical().hex() == (
        "9a01a74254432d555344a4302e3031a431452d3898ce000f4240ce000186a0ce000186a04064"
        "40cf7fffffffffffffffcf7fffffffffffffff00c4000000ce03938700"
    )


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        MarketSpec("X", Decimal("1E+2"), "0.5", limits=Limits(orders=5, text=7)),
        MarketSpec(
            "A/B",
            operator=b"o" * 20,
            opening=Phase.AUCTION,
            dynamic_band_bps=5,
            static_band_bps=6,
            pause_us=7,
        ),
    ],
    ids=str,
)
def test_canonical_bytes_say_everything(spec: MarketSpec) -> None:
    assert MarketSpec.from_canonical(spec.canonical()) == spec


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x90",
        b"\xc1",
        SPEC.canonical()[:-1],
        SPEC.canonical() + b"\0",
        b"\x9a\x02" + SPEC.canonical()[2:],
        SPEC.canonical().replace(b"BTC-USD", b"BTC USD"),
        SPEC.canonical().replace(b"\xa40.01", b"\xa40.10"),
    ],
    ids=bytes.hex,
)
def test_bytes_of_no_market_are_refused(data: bytes) -> None:
    with pytest.raises(MarketError):
        MarketSpec.from_canonical(data)


def test_spellings_of_one_market_are_one_group() -> None:
    assert MarketSpec("BTC-USD", "0.010", Decimal("1E-8")) == SPEC
    assert MarketSpec("BTC-USD", Decimal("0.01")).group_id == SPEC.group_id
    assert MarketSpec("X", Decimal("1E+2")).group_id == MarketSpec("X", 100).group_id


@pytest.mark.parametrize(
    "change",
    [
        {"symbol": ""},
        {"symbol": "-X"},
        {"symbol": "a b"},
        {"symbol": "é"},
        {"symbol": "x" * 33},
        {"tick_size": "0"},
        {"tick_size": "-1"},
        {"tick_size": 0.01},
        {"lot_size": "nan"},
        {"operator": b"short"},
        {"dynamic_band_bps": -1},
        {"static_band_bps": 10_001},
        {"pause_us": 0},
    ],
    ids=str,
)
def test_a_market_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MarketError):
        MarketSpec(**{"symbol": "BTC-USD", **change})


@pytest.mark.parametrize("value", [0, -1, 2**63, 1.5, True])
def test_a_limit_that_makes_no_sense_is_refused(value: Any) -> None:
    with pytest.raises(MarketError, match="limit levels"):
        Limits(levels=value)
