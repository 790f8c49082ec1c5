"""Commands that hypothesis draws: small numbers, so that orders meet, and ids that repeat."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from dhtex.matching import (
    Amend,
    Cancel,
    CancelAll,
    Command,
    Kind,
    Order,
    OrderId,
    Phase,
    Place,
    SelfTrade,
    SetPhase,
    Side,
    TimeInForce,
)

NODES = (b"A" * 20, b"B" * 20, b"C" * 20)
PRICES = st.integers(95, 105)
QUANTITIES = st.integers(1, 12)
ACCOUNTS = st.sampled_from(["", "", "", "fund"])
TAGS = st.sampled_from(["", "", "", "t1", "t2"])
SIDES = st.sampled_from(list(Side))
MODES = st.sampled_from(list(SelfTrade))


def plain_limits() -> SearchStrategy[Place]:
    """What the engine's own loop carries out."""
    force = st.sampled_from([TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC])
    return st.builds(Place, SIDES, QUANTITIES, PRICES, time_in_force=force, self_trade=MODES)


def limits() -> SearchStrategy[Place]:
    """Limit orders with every condition, and some that exclude each other."""
    return st.builds(
        Place,
        SIDES,
        QUANTITIES,
        PRICES,
        time_in_force=st.sampled_from([TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK]),
        post_only=st.sampled_from([False, False, True]),
        all_or_none=st.sampled_from([False, False, True]),
        display=st.sampled_from([None, None, 1, 2, 3]),
        self_trade=MODES,
        account=ACCOUNTS,
        tag=TAGS,
    )


def fill_or_kills() -> SearchStrategy[Place]:
    fok = st.just(TimeInForce.FOK)
    return st.builds(Place, SIDES, QUANTITIES, PRICES, time_in_force=fok, self_trade=MODES)


def icebergs() -> SearchStrategy[Place]:
    return st.builds(Place, SIDES, st.integers(4, 20), PRICES, display=st.integers(1, 4), self_trade=MODES)


def all_or_nones() -> SearchStrategy[Place]:
    return st.builds(Place, SIDES, QUANTITIES, PRICES, all_or_none=st.just(True), self_trade=MODES)


def dated() -> SearchStrategy[Place]:
    return st.builds(
        Place,
        SIDES,
        QUANTITIES,
        PRICES,
        time_in_force=st.just(TimeInForce.GTD),
        expiry=st.integers(0, 60),
        all_or_none=st.booleans(),
        account=ACCOUNTS,
        tag=TAGS,
    )


def markets() -> SearchStrategy[Place]:
    return st.builds(
        Place,
        SIDES,
        QUANTITIES,
        kind=st.just(Kind.MARKET),
        time_in_force=st.sampled_from([TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK]),
        self_trade=MODES,
        account=ACCOUNTS,
    )


def stops() -> SearchStrategy[Place]:
    return st.one_of(
        st.builds(
            Place, SIDES, QUANTITIES, kind=st.just(Kind.STOP), trigger=PRICES, self_trade=MODES, tag=TAGS
        ),
        st.builds(
            Place,
            SIDES,
            QUANTITIES,
            PRICES,
            kind=st.just(Kind.STOP_LIMIT),
            time_in_force=st.sampled_from([TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK]),
            trigger=PRICES,
            self_trade=MODES,
            account=ACCOUNTS,
        ),
        st.builds(
            Place,
            SIDES,
            QUANTITIES,
            kind=st.just(Kind.TRAILING_STOP),
            trail=st.integers(1, 4),
            self_trade=MODES,
        ),
        st.builds(
            Place,
            SIDES,
            QUANTITIES,
            PRICES,
            kind=st.just(Kind.STOP_LIMIT),
            time_in_force=st.just(TimeInForce.GTD),
            expiry=st.integers(0, 60),
            trigger=PRICES,
        ),
    )


def anything() -> SearchStrategy[Place]:
    """A fine order with one field that is not."""
    odd = st.sampled_from([None, 0, 1, 3, 100, -1, 2**63 - 1, 2**63, 2**64 - 1])
    number = st.sampled_from([0, -1, 2**63 - 1, 2**63, 2**64 - 1])
    changes = st.one_of(
        st.fixed_dictionaries({"quantity": number}),
        st.fixed_dictionaries({"price": odd}),
        st.fixed_dictionaries({"trigger": odd}),
        st.fixed_dictionaries({"trail": odd}),
        st.fixed_dictionaries({"display": odd}),
        st.fixed_dictionaries({"expiry": odd}),
        st.fixed_dictionaries({"kind": st.sampled_from(list(Kind))}),
        st.fixed_dictionaries({"time_in_force": st.sampled_from(list(TimeInForce))}),
        st.fixed_dictionaries({"post_only": st.just(True), "all_or_none": st.booleans()}),
        st.fixed_dictionaries({"account": st.sampled_from(["x" * 64, "x" * 65, "é" * 33])}),
        st.fixed_dictionaries({"tag": st.sampled_from(["y" * 64, "y" * 65])}),
    )
    fine = st.one_of(plain_limits(), icebergs(), all_or_nones(), dated(), markets(), stops())
    return st.builds(lambda order, change: replace(order, **change), fine, changes)


def placements() -> SearchStrategy[Command]:
    return st.one_of(
        plain_limits(),
        plain_limits(),
        limits(),
        icebergs(),
        all_or_nones(),
        dated(),
        markets(),
        stops(),
        anything(),
    )


def order_ids(n_max: int) -> SearchStrategy[OrderId]:
    return st.builds(OrderId, st.sampled_from(NODES), st.integers(1, max(1, n_max)))


def changes(n_max: int) -> SearchStrategy[Command]:
    """Amends and cancels of orders that may be there."""
    ids = order_ids(n_max)
    return st.one_of(
        st.builds(
            Amend,
            ids,
            st.one_of(st.none(), st.integers(0, 20)),
            st.one_of(st.none(), PRICES),
            ACCOUNTS,
        ),
        st.builds(Cancel, ids, ACCOUNTS),
        st.builds(Cancel, st.none(), ACCOUNTS, st.sampled_from(["t1", "t2"])),
        st.builds(
            CancelAll, st.sampled_from([None, Side.BUY, Side.SELL]), st.sampled_from([None, "", "fund"])
        ),
    )


def changes_of(order: Order) -> SearchStrategy[Command]:
    """Amends and cancels by the order's own account."""
    quantities = st.one_of(st.none(), st.integers(max(1, order.quantity - 6), order.quantity + 4))
    prices = st.one_of(st.none(), PRICES)
    return st.one_of(
        st.builds(Amend, st.just(order.id), quantities, prices, st.just(order.account)),
        st.builds(Amend, st.just(order.id), quantities, st.none(), st.just(order.account)),
        st.builds(Cancel, st.just(order.id), st.just(order.account)),
    )


def phases() -> SearchStrategy[Command]:
    return st.builds(SetPhase, st.sampled_from(list(Phase)))
