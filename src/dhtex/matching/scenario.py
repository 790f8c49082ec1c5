"""Scenes of a market as text: commands, the events they must give, the book they must leave.

    # Best price first, then oldest.
    alice sell 5 101
    bob   sell 5 100
    carol buy 7 101
    > accepted carol:1
    > trade 5 @ 100 bob:1 carol:1
    > trade 2 @ 101 alice:1 carol:1
    = asks 101x3

Lines that start with `>` are all events of the command above them, in order; a command with none must be carried out,
and nothing else may follow from it.
Lines that start with `=` say what can be seen now. A name is a node; its commands count from 1, and `alice:2` is the
order that her second one placed. `market NAME VALUE ...` lines come first and change the terms. The grammar, word by
word, is in docs/reference/matching-scenarios.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from dhtex.errors import MarketError, OrderError, ReplayMismatch
from dhtex.matching.commands import (
    Amend,
    Cancel,
    CancelAll,
    Command,
    Kind,
    OrderId,
    Place,
    SelfTrade,
    SetPhase,
    Side,
    TimeInForce,
)
from dhtex.matching.engine import MatchingEngine
from dhtex.matching.events import (
    Accepted,
    Amended,
    Cancelled,
    Event,
    Expired,
    PhaseChanged,
    Rejected,
    Replenished,
    Trade,
    Triggered,
)
from dhtex.matching.market import NODE_ID_SIZE, Limits, MarketSpec, Phase

_SELF_TRADE: Final = {
    "newest": SelfTrade.CANCEL_NEWEST,
    "oldest": SelfTrade.CANCEL_OLDEST,
    "both": SelfTrade.CANCEL_BOTH,
    "decrement": SelfTrade.DECREMENT,
    "off": SelfTrade.OFF,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One command and what must follow from it.

    Attributes:
        line: where it stands in the file, from 1.
        text: as it stands there.
        events: what must come out, as text; empty for "its answer, which is no rejection, and nothing else".
        views: (line, what must be seen afterwards), as text.
    """

    line: int
    text: str
    events: tuple[str, ...] = ()
    views: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A parsed file.

    Attributes:
        title: its first comment: the rule that it shows.
        spec: the market's terms.
        steps: what happens, in order.
    """

    title: str
    spec: MarketSpec
    steps: tuple[Step, ...]


@dataclass
class Stage:
    """A scenario as it is played.

    Attributes:
        engine: the market.
        timestamp: of the next command, microseconds.
        numbers: the last number of each node.
        names: each node's name.
    """

    engine: MatchingEngine
    timestamp: int = 1
    numbers: dict[str, int] = field(default_factory=dict)
    names: dict[bytes, str] = field(default_factory=dict)


def node_id(name: str) -> bytes:
    """The node id that a name stands for in a scenario: the name, filled up with zeros."""
    return name.encode("ascii", "replace")[:NODE_ID_SIZE].ljust(NODE_ID_SIZE, b"\0")


def parse(text: str) -> Scenario:
    """Read a scenario.

    Raises:
        OrderError: a line is not one; the sentence names it.
    """
    title = ""
    terms: dict[str, str] = {}
    steps: list[Step] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith("#"):
            title = title or line.lstrip("# ")
        elif line.startswith("market "):
            words = line.split()[1:]
            if steps or len(words) % 2:
                raise OrderError(f"line {number}: market terms come in pairs, before the first command")
            terms.update(zip(words[::2], words[1::2], strict=True))
        elif line.startswith(">") and steps:
            steps[-1] = replace(steps[-1], events=(*steps[-1].events, " ".join(line[1:].split())))
        elif line.startswith("=") and steps:
            steps[-1] = replace(steps[-1], views=(*steps[-1].views, (number, " ".join(line[1:].split()))))
        elif line:
            steps.append(Step(number, " ".join(line.split())))
    try:
        return Scenario(title, _spec(terms), tuple(steps))
    except (MarketError, ValueError, KeyError) as error:
        raise OrderError(f"the market terms make no sense: {error}") from error


def _spec(terms: dict[str, str]) -> MarketSpec:
    limits = {
        name.removeprefix("max-").replace("-", "_"): int(value)
        for name, value in terms.items()
        if name.startswith("max-")
    }
    others = {name: value for name, value in terms.items() if not name.startswith("max-")}
    unknown = set(others) - {"tick", "lot", "opening", "operator", "dynamic", "static", "pause"}
    if unknown or set(limits) - set(Limits.__slots__):
        raise KeyError(*unknown, *(set(limits) - set(Limits.__slots__)))
    return MarketSpec(
        "SCENE",
        tick_size=others.get("tick", "1"),
        lot_size=others.get("lot", "1"),
        limits=Limits(**limits),
        opening=Phase[others.get("opening", "continuous").upper()],
        operator=node_id(others["operator"]) if "operator" in others else b"",
        dynamic_band_bps=int(others.get("dynamic", "0")),
        static_band_bps=int(others.get("static", "0")),
        pause_us=int(others.get("pause", "10")),
    )


def play(
    scenario: Scenario, check: Callable[[MatchingEngine], None] | None = None
) -> Iterator[tuple[Step, list[str]]]:
    """Play a scenario, giving each step with the events that came of it, as text.

    Args:
        scenario: what to play.
        check: called after each command.

    Raises:
        ReplayMismatch: something else came out than the scenario says.
        OrderError: a line is not a command.
    """
    stage = Stage(MatchingEngine(scenario.spec))
    for step in scenario.steps:
        try:
            events = [_say(event, stage) for event in _perform(step.text.split(), stage)]
        except (OrderError, LookupError, ValueError) as error:
            why = str(error) if isinstance(error, OrderError) else "a command is such as: alice buy 5 100"
            raise OrderError(f"line {step.line}: {step.text!r} is not a command: {why}") from error
        if check is not None:
            check(stage.engine)
        _compare(step, events)
        for line, view in step.views:
            found = _view(view.split(), stage)
            if found != view:
                raise ReplayMismatch(f"line {line}: expected {view!r}, there is {found!r}")
        yield step, events


def _compare(step: Step, events: list[str]) -> None:
    shown = "".join(f"\n  > {event}" for event in events)
    if step.events and list(step.events) != events:
        raise ReplayMismatch(f"line {step.line}: {step.text!r} gave other events than expected:{shown}")
    if not step.events and (len(events) > 1 or any(event.startswith("rejected") for event in events)):
        raise ReplayMismatch(
            f"line {step.line}: {step.text!r} was to be carried out, with nothing else to follow, but:{shown}"
        )


def _perform(words: list[str], stage: Stage) -> tuple[Event, ...]:
    """Do what a line says; lines that only set the scene give no events."""
    if words[0] == "at":
        stage.timestamp = int(words[1])
        return ()
    name = words[0]
    stage.names[node_id(name)] = name
    if words[1] == "number":
        stage.numbers[name] = int(words[2]) - 1
        return ()
    if words[1] == "restart":
        snapshot = stage.engine.snapshot()
        stage.engine = MatchingEngine(stage.engine.spec)
        stage.engine.restore(snapshot)
        return ()
    n = stage.numbers.get(name, 0) + 1
    stage.numbers[name] = n
    if words[1] == "raw":
        batch = stage.engine.apply_batch(
            bytes.fromhex(words[2]),
            owner=node_id(name),
            first_n=n,
            count=1,
            timestamp=stage.timestamp,
            position=stage.engine.position + 1,
        )
        return batch.events()
    command = _command(words[1:], stage.engine.spec)
    return stage.engine.apply(command, owner=node_id(name), n=n, timestamp=stage.timestamp)


def _command(words: list[str], spec: MarketSpec) -> Command:
    verb, rest = words[0], words[1:]
    match verb, rest:
        case "buy" | "sell", [quantity, *options]:
            return _place(Side[verb.upper()], quantity, options, spec)
        case "amend", [order, *options]:
            pairs = _pairs(options, {"quantity", "price", "account"})
            return Amend(
                _order_id(order),
                quantity=_whole(pairs.get("quantity"), spec.lot_size == 1, spec.quantity),
                price=_whole(pairs.get("price"), spec.tick_size == 1, spec.price),
                account=pairs.get("account", ""),
            )
        case "cancel", ["tag", tag, *options]:
            return Cancel(tag=tag, account=_pairs(options, {"account"}).get("account", ""))
        case "cancel", ["all", *options]:
            pairs = _pairs(options, {"side", "account"})
            side = Side[pairs["side"].upper()] if "side" in pairs else None
            return CancelAll(side, pairs.get("account"))
        case "cancel", [order, *options]:
            return Cancel(_order_id(order), account=_pairs(options, {"account"}).get("account", ""))
        case "phase", [phase]:
            return SetPhase(Phase[phase.upper()])
    raise OrderError(f"unknown words {' '.join(words)!r}")


def _pairs(words: list[str], known: set[str]) -> dict[str, str]:
    """Words as names and values."""
    pairs = dict(zip(words[::2], words[1::2], strict=True))
    if not known.issuperset(pairs):
        raise OrderError(f"unknown words {' '.join(sorted(set(pairs) - known))!r}")
    return pairs


def _place(side: Side, quantity: str, words: list[str], spec: MarketSpec) -> Place:
    lots = _whole(quantity, spec.lot_size == 1, spec.quantity)
    order = Place(side, 0 if lots is None else lots)
    price_of = _number_reader(spec.tick_size == 1, spec.price)
    lots_of = _number_reader(spec.lot_size == 1, spec.quantity)
    rest = iter([*words, ""])  # the empty word at the end stands for a value that is missing
    for word in rest:
        match word:
            case "":
                break
            case "market":
                order = replace(order, kind=Kind.MARKET)
            case "stop":
                kind = Kind.STOP if order.price is None else Kind.STOP_LIMIT
                order = replace(order, kind=kind, trigger=price_of(next(rest)))
            case "trail":
                order = replace(order, kind=Kind.TRAILING_STOP, trail=price_of(next(rest)))
            case "ioc" | "fok":
                order = replace(order, time_in_force=TimeInForce[word.upper()])
            case "until":
                order = replace(order, time_in_force=TimeInForce.GTD, expiry=int(next(rest)))
            case "post-only":
                order = replace(order, post_only=True)
            case "all-or-none":
                order = replace(order, all_or_none=True)
            case "display":
                order = replace(order, display=lots_of(next(rest)))
            case "self-trade":
                order = replace(order, self_trade=_SELF_TRADE[next(rest)])
            case "account":
                order = replace(order, account=next(rest))
            case "tag":
                order = replace(order, tag=next(rest))
            case _:
                order = replace(order, price=price_of(word))
    return order


def _number_reader(whole: bool, exact: Callable[[str], int]) -> Callable[[str], int]:
    return lambda text: _whole(text, whole, exact) or 0


def _whole(text: str | None, whole: bool, exact: Callable[[str], int]) -> int | None:
    """A number of the market; where ticks and lots are 1, any integer, so that the engine can refuse it."""
    if text is None:
        return None
    return int(text) if whole else exact(text)


def _order_id(text: str) -> OrderId:
    name, _, n = text.partition(":")
    return OrderId(node_id(name), int(n))


def _view(words: list[str], stage: Stage) -> str:
    """What can be seen, in the words of the line that asks for it."""
    engine, spec = stage.engine, stage.engine.spec
    depth = engine.depth()
    match words:
        case ["bids", *_]:
            return " ".join(["bids", *_levels(depth.bids, spec)])
        case ["asks", *_]:
            return " ".join(["asks", *_levels(depth.asks, spec)])
        case ["last", *_]:
            return f"last {_price(engine.last_price, spec)}"
        case ["phase", *_]:
            return f"phase {engine.phase.name.lower()}"
        case ["open", *_]:
            return " ".join(["open", *(_name(order.id, stage) for order in engine.orders())])
        case ["queue", side, *_]:
            found = [_name(order.id, stage) for order in engine.queue(Side[side.upper()])]
            return " ".join(["queue", side, *found])
        case ["order", name, *_]:
            order = engine.order(_order_id(name))
            if order is None:
                return f"order {name} gone"
            hidden = f" hidden {spec.format_quantity(order.hidden)}" if order.hidden else ""
            trigger = f" trigger {_price(order.trigger, spec)}" if order.trigger is not None else ""
            return f"order {name} {spec.format_quantity(order.shown)}{hidden}{trigger}"
        case ["indication", *_]:
            found_now = engine.indication()
            if found_now is None:
                return "indication none"
            price, lots = spec.format_price(found_now.price), spec.format_quantity(found_now.quantity)
            return f"indication {lots} @ {price} surplus {found_now.surplus}"
    return f"{' '.join(words)} cannot be seen"


def _levels(levels: tuple[tuple[int, int], ...], spec: MarketSpec) -> list[str]:
    return [f"{spec.format_price(price)}x{spec.format_quantity(lots)}" for price, lots in levels] or ["none"]


def _price(price: int | None, spec: MarketSpec) -> str:
    return "none" if price is None else spec.format_price(price)


def _name(order: OrderId, stage: Stage) -> str:
    return f"{stage.names.get(order.node_id, order.node_id[:4].hex())}:{order.n}"


def _say(event: Event, stage: Stage) -> str:
    """One event as a line."""
    spec = stage.engine.spec
    lots = spec.format_quantity
    match event:
        case Accepted(order=order):
            return f"accepted {_name(order, stage)}"
        case Rejected(order=order, reason=reason):
            return f"rejected {_name(order, stage)} {_words(reason.name)}"
        case Trade():
            orders = f"{_name(event.maker, stage)} {_name(event.taker, stage)}"
            return f"trade {lots(event.quantity)} @ {spec.format_price(event.price)} {orders}"
        case Cancelled(order=order, quantity=quantity, remaining=remaining, reason=reason):
            rest = f" remaining {lots(remaining)}" if remaining else ""
            return f"cancelled {_name(order, stage)} {lots(quantity)} {_words(reason.name)}{rest}"
        case Expired(order=order, quantity=quantity):
            return f"expired {_name(order, stage)} {lots(quantity)}"
        case Amended(order=order, quantity=quantity, kept_priority=kept):
            priority = "keeps" if kept else "loses"
            at = _price(event.price, spec)
            return f"amended {_name(order, stage)} {lots(quantity)} @ {at} {priority} priority"
        case Triggered(order=order):
            return f"triggered {_name(order, stage)}"
        case Replenished(order=order, quantity=quantity, hidden=hidden):
            return f"replenished {_name(order, stage)} {lots(quantity)} hidden {lots(hidden)}"
        case PhaseChanged(phase=phase, price=price):
            at = "" if price is None else f" @ {spec.format_price(price)}"
            return f"phase {phase.name.lower()}{at}"


def _words(name: str) -> str:
    return name.lower().replace("_", "-")
