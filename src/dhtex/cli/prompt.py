"""The language of the prompt: one line of text to one action, or a sentence that says what is wrong.

buy 100 50              type amount price
sell 30 49.5 post       with words for time in force: gtc, ioc, fok, post, aon
buy 10 market
sell 10 market stop=48  and settings: stop=, trail=, display=, for=, tag=, account=
amend c0ffee12:42 80 49
cancel c0ffee12:42
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from dhtex.errors import OrderError
from dhtex.matching import (
    Amend,
    Cancel,
    CancelAll,
    Command,
    Kind,
    MarketSpec,
    OrderId,
    Place,
    Side,
    TimeInForce,
)

ORDER_WORDS: Final = ("gtc", "ioc", "fok", "post", "aon")
ORDER_SETTINGS: Final = ("stop=", "trail=", "display=", "for=", "tag=", "account=")

_DURATION: Final = re.compile(r"(\d{1,9})(s|m|h|d)", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_ROWS_MAX: Final = 1000
_POSITION_MAX: Final = 10**18


@dataclass(frozen=True, slots=True)
class Send:
    """Submit *command*; *shown* is how it was asked for, tidied."""

    command: Command
    shown: str


@dataclass(frozen=True, slots=True)
class Show:
    """Show something: `book`, `trades`, `orders`, `peers`, `status` or `help`.

    Attributes:
        number: rows of `book` and `trades`; for `status`, the position to wait for.
    """

    what: str
    number: int


@dataclass(frozen=True, slots=True)
class Quit:
    """Leave the group and end."""


Action = Send | Show | Quit

USAGE: Final = {
    "buy": "buy AMOUNT PRICE|market [gtc|ioc|fok|post|aon] [stop=P] [trail=D] [display=Q] [for=60s] [tag=T]"
    " [account=A]",
    "sell": "sell AMOUNT PRICE|market ...  as buy",
    "amend": "amend ID AMOUNT [PRICE]        a smaller amount at the same price keeps its place",
    "cancel": "cancel ID | cancel all [buy|sell]",
    "book": "book [LEVELS]                  the best prices and what is there",
    "trades": "trades [ROWS]                  the last trades",
    "orders": "orders                         your open and pending orders",
    "peers": "peers                          who replicates this market",
    "status": "status [POSITION]              where this peer is; with a position, once it is there",
    "help": "help                           this list",
    "quit": "quit                           leave the group and end",
}
"""First word -> how to use it, in the order in which `help` lists them."""

FindOrder = Callable[[str], OrderId]
"""The id of an own open or pending order as it is written; raises `OrderError`."""


def parse(line: str, spec: MarketSpec, find: FindOrder, wall_us: int) -> Action | None:
    """The action that *line* asks for; None for an empty line or a `#` comment.

    Args:
        find: looks up an order id as people write it.
        wall_us: the time now, microseconds since the epoch, for `for=`.
    Raises:
        OrderError: the sentence says what is wrong and what would be right.
    """
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise OrderError(f"cannot read the line: {error}; quotes come in pairs") from error
    if not words:
        return None
    name, arguments = words[0].lower(), words[1:]
    match name:
        case "buy" | "sell":
            return _place(Side.BUY if name == "buy" else Side.SELL, arguments, spec, wall_us)
        case "amend":
            return _amend(arguments, spec, find)
        case "cancel":
            return _cancel(arguments, find)
        case "book" | "trades":
            return Show(name, _number(name, arguments, 10, _ROWS_MAX))
        case "status":
            return Show(name, _number(name, arguments, 0, _POSITION_MAX))
        case "orders" | "peers" | "help" | "?":
            _nothing_after(name, arguments)
            return Show("help" if name == "?" else name, 0)
        case "quit" | "exit":
            _nothing_after(name, arguments)
            return Quit()
        case _:
            raise OrderError(f"{words[0]!r} is not a command; {_instead_of(name)}")


def _instead_of(name: str) -> str:
    close = get_close_matches(name, USAGE, 1, cutoff=0.75)
    return f"did you mean {close[0]}?" if close else f"try one of {', '.join(USAGE)}"


def _place(side: Side, arguments: Sequence[str], spec: MarketSpec, wall_us: int) -> Send:
    name = side.name.lower()
    if len(arguments) < 2:
        missing = "an amount and a price" if not arguments else "a price, or the word market"
        raise OrderError(f"{name} needs {missing}: {name} AMOUNT PRICE, as in {name} 100 50")
    quantity = spec.quantity(arguments[0])
    at_market = arguments[1].lower() in ("market", "mkt")
    price = None if at_market else spec.price(arguments[1])
    words, settings = _split(name, arguments[2:])
    stop = _price_setting(settings, "stop", spec)
    trail = _price_setting(settings, "trail", spec)
    force, expiry = _time_in_force(words, settings, wall_us)
    command = Place(
        side=side,
        quantity=quantity,
        price=price,
        kind=_kind(at_market, stop, trail),
        time_in_force=force,
        expiry=expiry,
        trigger=stop,
        trail=trail,
        post_only="post" in words,
        all_or_none="aon" in words,
        display=spec.quantity(settings["display"]) if "display" in settings else None,
        account=settings.get("account", ""),
        tag=settings.get("tag", ""),
    )
    return Send(command, describe(command, spec))


def _kind(at_market: bool, stop: int | None, trail: int | None) -> Kind:
    if trail is not None:
        if stop is not None or not at_market:
            raise OrderError("a trailing stop has no price and no stop of its own: sell 10 market trail=2")
        return Kind.TRAILING_STOP
    if stop is not None:
        return Kind.STOP if at_market else Kind.STOP_LIMIT
    return Kind.MARKET if at_market else Kind.LIMIT


def _split(name: str, arguments: Sequence[str]) -> tuple[set[str], dict[str, str]]:
    words: set[str] = set()
    settings: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and f"{key.lower()}=" in ORDER_SETTINGS:
            settings[key.lower()] = value
        elif argument.lower() in ORDER_WORDS:
            words.add(argument.lower())
        else:
            raise OrderError(
                f"{name} does not know {argument!r}; it takes {USAGE['buy'].partition('market ')[2]}"
            )
    return words, settings


def _price_setting(settings: dict[str, str], key: str, spec: MarketSpec) -> int | None:
    return spec.price(settings[key]) if key in settings else None


def _time_in_force(words: set[str], settings: dict[str, str], wall_us: int) -> tuple[TimeInForce, int | None]:
    named = [word for word in ("gtc", "ioc", "fok") if word in words]
    if len(named) + ("for" in settings) > 1:
        raise OrderError("give one time in force: gtc, ioc, fok or for=60s")
    if "for" in settings:
        duration = _DURATION.fullmatch(settings["for"])
        if duration is None:
            raise OrderError(
                f"for={settings['for']} is not a time; write a number and s, m, h or d, as in for=60s"
            )
        return TimeInForce.GTD, wall_us + int(duration[1]) * _SECONDS[duration[2]] * 1_000_000
    return (TimeInForce[named[0].upper()] if named else TimeInForce.GTC), None


def _amend(arguments: Sequence[str], spec: MarketSpec, find: FindOrder) -> Send:
    if len(arguments) not in (2, 3):
        raise OrderError(
            "amend needs an order id and an amount: amend c0ffee12:42 80, or with a price: ... 80 49"
        )
    order = find(arguments[0])
    price = spec.price(arguments[2]) if len(arguments) == 3 else None
    command = Amend(order, quantity=spec.quantity(arguments[1]), price=price)
    return Send(command, describe(command, spec))


def _cancel(arguments: Sequence[str], find: FindOrder) -> Send:
    command: Command
    match [argument.lower() for argument in arguments]:
        case ["all"]:
            command = CancelAll()
        case ["all", ("buy" | "sell") as side]:
            command = CancelAll(Side[side.upper()])
        case [text]:
            command = Cancel(find(text))
        case _:
            raise OrderError("cancel needs one order id, as in cancel c0ffee12:42, or the word all")
    return Send(command, " ".join(["cancel", *arguments]))


def _number(name: str, arguments: Sequence[str], default: int, highest: int) -> int:
    if not arguments:
        return default
    text = arguments[0]
    if len(arguments) > 1 or len(text) > 19 or not text.isdecimal() or not 0 < int(text) <= highest:
        raise OrderError(f"{name} takes one whole number from 1 to {highest}, as in {name} 5")
    return int(text)


def _nothing_after(name: str, arguments: Sequence[str]) -> None:
    if arguments:
        raise OrderError(f"{name} takes nothing more; did you mean two lines?")


def describe(command: Command, spec: MarketSpec) -> str:
    """*command* as it is typed: `buy 100 50.00 post`."""
    match command:
        case Place():
            price = "market" if command.price is None else spec.format_price(command.price)
            words = [command.side.name.lower(), spec.format_quantity(command.quantity), price]
            if command.time_in_force is not TimeInForce.GTC:
                words.append(command.time_in_force.name.lower())
            words += [word for word, on in (("post", command.post_only), ("aon", command.all_or_none)) if on]
            words += [
                f"{key}={spec.format_price(value)}"
                for key, value in (("stop", command.trigger), ("trail", command.trail))
                if value is not None
            ]
            if command.display is not None:
                words.append(f"display={spec.format_quantity(command.display)}")
            return " ".join(words)
        case Amend(order, quantity, price_ticks):
            words = ["amend", str(order)]
            if quantity is not None:
                words.append(spec.format_quantity(quantity))
            if price_ticks is not None:
                words.append(spec.format_price(price_ticks))
            return " ".join(words)
        case Cancel(order):
            return f"cancel {order}"
        case CancelAll(side):
            return "cancel all" if side is None else f"cancel all {side.name.lower()}"
        case _:
            return type(command).__name__
