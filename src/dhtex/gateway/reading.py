"""From what a request says to values, or a sentence: orders, numbers in the query, waiting."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeVar

from aiohttp import web

from dhtex.errors import OrderError
from dhtex.gateway.answers import Refusal
from dhtex.matching import Kind, MarketSpec, Place, SelfTrade, Side, TimeInForce

E = TypeVar("E", bound=IntEnum)

WAIT_S: Final = 30
"""How long `wait=final` waits unless told otherwise; after it the order is reported as pending."""
WAIT_S_MAX: Final = 300

_FIELDS: Final = frozenset(
    {
        "side", "quantity", "price", "time_in_force", "expiry", "trigger", "trail", "display",
        "post_only", "all_or_none", "self_trade", "account", "tag",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wait:
    """What the client waits for.

    Attributes:
        final: rather than accepted.
        seconds: at most.
    """

    final: bool
    seconds: int


def read_wait(question: Mapping[str, Any]) -> Wait:
    """`wait`, accepted or final, and `timeout`, seconds.

    Raises:
        Refusal: 400, another word, or a time out of range.
    """
    word = question.get("wait", "accepted")
    if word not in ("accepted", "final"):
        raise Refusal(400, "query", "wait is accepted or final")
    return Wait(word == "final", read_number(question, "timeout", WAIT_S, 0, WAIT_S_MAX))


def read_number(question: Mapping[str, Any], name: str, default: int, lowest: int, highest: int) -> int:
    """A whole number, as text or as it is.

    Raises:
        Refusal: 400, not a whole number, or out of range.
    """
    if question.get(name) is None:
        return default
    text = str(question[name])
    if text.isascii() and text.isdecimal() and len(text) < 10 and lowest <= int(text) <= highest:
        return int(text)
    raise Refusal(400, "query", f"{name} is a whole number from {lowest} to {highest}")


async def read_json(request: web.Request) -> dict[str, Any]:
    """The JSON object in the body.

    Raises:
        Refusal: 415, not declared as JSON, which also keeps HTML forms out; 400, not a JSON object.
        web.HTTPRequestEntityTooLarge: more than an order needs.
    """
    if request.content_type != "application/json":
        raise Refusal(415, "content_type", "send the order as JSON, with Content-Type: application/json")
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "json", "the body is not JSON") from error
    if not isinstance(body, dict):
        raise Refusal(400, "json", 'the body is a JSON object, such as {"side": "buy", "quantity": "1"}')
    return body


def read_order(body: Mapping[str, Any], spec: MarketSpec) -> Place:
    """The order that a JSON object asks for. Its kind follows from price, trigger and trail, as at the prompt.

    Raises:
        OrderError: the sentence names the field.
    """
    unknown = sorted(set(body) - _FIELDS)
    if unknown:
        raise OrderError(f"an order has no field {unknown[0]!r}; it has {', '.join(sorted(_FIELDS))}")
    price = _number(body, "price", spec.price)
    trigger = _number(body, "trigger", spec.price)
    trail = _number(body, "trail", spec.price)
    quantity = _number(body, "quantity", spec.quantity)
    if quantity is None:
        raise OrderError('an order needs a quantity, as text: "quantity": "0.5"')
    if body.get("side") is None:
        raise OrderError('an order needs a side: "buy" or "sell"')
    return Place(
        side=_word(body, "side", Side.BUY),
        quantity=quantity,
        price=price,
        kind=_kind(price, trigger, trail),
        time_in_force=_word(body, "time_in_force", TimeInForce.GTC),
        expiry=_expiry(body),
        trigger=trigger,
        trail=trail,
        post_only=_flag(body, "post_only"),
        all_or_none=_flag(body, "all_or_none"),
        display=_number(body, "display", spec.quantity),
        self_trade=_word(body, "self_trade", SelfTrade.CANCEL_NEWEST),
        account=_text(body, "account"),
        tag=_text(body, "tag"),
    )


def _kind(price: int | None, trigger: int | None, trail: int | None) -> Kind:
    if trail is not None:
        return Kind.TRAILING_STOP
    if trigger is not None:
        return Kind.STOP if price is None else Kind.STOP_LIMIT
    return Kind.MARKET if price is None else Kind.LIMIT


def _number(body: Mapping[str, Any], name: str, convert: Callable[[str], int]) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise OrderError(f'{name} is written as text, such as "49.5", so that nothing is rounded on the way')
    return convert(value)


def _word(body: Mapping[str, Any], name: str, default: E) -> E:
    value = body.get(name)
    if value is None:
        return default
    words = {member.name.lower(): member for member in type(default)}
    if not isinstance(value, str) or value not in words:
        raise OrderError(f"{name} is one of {', '.join(words)}")
    return words[value]


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise OrderError(f"{name} is true or false")
    return value


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not value.isprintable():
        raise OrderError(f"{name} is a text of printable characters")
    return value


def _expiry(body: Mapping[str, Any]) -> int | None:
    value = body.get("expiry")
    if value is not None and (type(value) is not int or not 0 < value < 2**63):
        raise OrderError("expiry is a whole number of microseconds since the epoch")
    return value
