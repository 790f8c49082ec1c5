"""The language of the prompt."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dhtex.cli.prompt import Action, Quit, Send, Show, parse
from dhtex.errors import OrderError
from dhtex.matching import Amend, Cancel, CancelAll, Kind, MarketSpec, OrderId, Place, Side, TimeInForce

SPEC = MarketSpec("BTC-USD")
OWN = OrderId(b"\xc0\xff\xee\x12" + bytes(16), 42)


def find(text: str) -> OrderId:
    if text == "c0ffee12:42":
        return OWN
    raise OrderError(f"no open order is called {text}")


def read(line: str) -> Action | None:
    return parse(line, SPEC, find, 1_000_000)


def placed(line: str) -> Place:
    action = read(line)
    assert isinstance(action, Send)
    assert isinstance(action.command, Place)
    return action.command


def test_the_seeds_commands() -> None:
    assert placed("buy 100 50") == Place(Side.BUY, SPEC.quantity(100), SPEC.price(50))
    assert placed("sell 30 49.5") == Place(Side.SELL, SPEC.quantity(30), SPEC.price("49.5"))
    assert placed("buy 10 market") == Place(Side.BUY, SPEC.quantity(10), kind=Kind.MARKET)
    assert read("cancel c0ffee12:42") == Send(Cancel(OWN), "cancel c0ffee12:42")


def test_words_and_settings() -> None:
    assert placed("BUY 1 50 IOC").time_in_force is TimeInForce.IOC
    assert placed("buy 1 50 fok").time_in_force is TimeInForce.FOK
    assert placed("buy 1 50 post aon") == Place(Side.BUY, 10**8, 5000, post_only=True, all_or_none=True)
    assert placed("sell 1 market stop=48").kind is Kind.STOP
    assert placed("sell 1 47 stop=48").trigger == 4800
    assert placed("sell 1 market trail=2").trail == 200
    assert placed("sell 9 50 display=2 tag=mine account=a") == Place(
        Side.SELL, 9 * 10**8, 5000, display=2 * 10**8, tag="mine", account="a"
    )
    for text, seconds in (("7s", 7), ("2m", 120), ("3h", 10_800), ("1d", 86_400)):
        assert placed(f"sell 1 50 for={text}").expiry == 1_000_000 + seconds * 1_000_000


def test_other_lines() -> None:
    assert read("") is None
    assert read("  # nothing") is None
    assert read("book") == Show("book", 10)
    assert read("trades 3") == Show("trades", 3)
    assert read("trades 1000") == Show("trades", 1000)
    assert read("status 7") == Show("status", 7)
    assert read("amend c0ffee12:42 5") == Send(Amend(OWN, quantity=5 * 10**8), f"amend {OWN} 5")
    assert read("amend c0ffee12:42 5 49") == Send(Amend(OWN, 5 * 10**8, 4900), f"amend {OWN} 5 49.00")
    assert read("cancel all") == Send(CancelAll(), "cancel all")
    assert read("cancel all sell") == Send(CancelAll(Side.SELL), "cancel all sell")
    assert isinstance(read("quit"), Quit)
    assert read("?") == read("help") == Show("help", 0)


@pytest.mark.parametrize(
    "line",
    ["buy 100 50", "sell 30 49.5 ioc", "buy 10 market", "sell 1 47 stop=48", "sell 5 50 post display=1"],
)
def test_what_is_shown_can_be_typed_again(line: str) -> None:
    action = read(line)
    assert isinstance(action, Send)
    assert read(action.shown) == action


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("buy 1 50 foo=1", "buy does not know 'foo=1'; it takes [gtc|ioc|fok|post|aon] [stop=P]"),
        ("sell 1 50 ioc fok", "give one time in force"),
        ("sell 1 50 ioc for=60s", "give one time in force"),
        ("buy 1 50 for=60", "for=60 is not a time"),
        ("sell 10 50 trail=2", "a trailing stop has no price"),
        ("sell 10 market trail=2 stop=48", "a trailing stop has no price"),
        ("book 0", "book takes one whole number from 1 to 1000, as in book 5"),
        ("trades 1001", "trades takes one whole number from 1 to 1000"),
        ("book 1 2", "book takes one whole number"),
        ("orders all", "orders takes nothing more"),
        ("cancel", "cancel needs one order id"),
        ("amend c0ffee12:42", "amend needs an order id and an amount"),
        ('buy 1 "50', "cannot read the line"),
    ],
)
def test_a_line_that_makes_no_sense(line: str, sentence: str) -> None:
    with pytest.raises(OrderError) as refused:
        read(line)
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("sel 100 50", "'sel' is not a command; did you mean sell?"),
        ("Cancle all", "'Cancle' is not a command; did you mean cancel?"),
        ("dance", "'dance' is not a command; try one of buy, sell, amend, cancel, book"),
    ],
)
def test_a_word_that_is_no_command(line: str, sentence: str) -> None:
    with pytest.raises(OrderError) as refused:
        read(line)
    assert str(refused.value).startswith(sentence)


@given(line=st.text(max_size=60))
@example("buy 1 1 for=999999999d")
@example("book 99999999999999999999999999")
@example("status 1000000000000000000" + 5000 * "0")
@example("cancel ²:²")
def test_any_text_is_an_action_or_one_sentence(line: str) -> None:
    with contextlib.suppress(OrderError):
        read(line)
