"""What must hold between any two commands, checked by walking everything. For tests and simulations.

Source: `design: matching, Invariants`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dhtex.errors import invariant
from dhtex.matching.market import MAX_INTEGER, NODE_ID_SIZE, Phase
from dhtex.matching.orders import (
    HIDDEN,
    KEY,
    LEVEL,
    NO_KEY,
    QTY,
    TERMS,
    TOTAL,
    N,
    Node,
    Terms,
    open_quantity,
    price_of,
    priority_of,
)
from dhtex.matching.state import State

if TYPE_CHECKING:
    from dhtex.matching.engine import MatchingEngine


def audit(engine: MatchingEngine) -> None:
    """Check every invariant of a market.

    Raises:
        RuntimeError: one does not hold: a bug in this package.
    """
    audit_state(engine._state)


def audit_state(state: State) -> None:
    """`audit`, for what an engine has inside.

    Raises:
        RuntimeError: an invariant does not hold.
    """
    places = _audit_levels(state) + _audit_beside(state) + _audit_stops(state)
    found = {(node[TERMS].owner.node_id, node[N]) for node in places}
    registered = {(owner.node_id, n) for owner in state.owners.values() for n in owner.orders}
    invariant(len(found) == len(places), "no order is in two places")
    invariant(found == registered, "every open order is reachable by id, and nothing else is")
    invariant(state.opened == len(places), "open orders are counted")
    for node in places:
        invariant(0 < open_quantity(node) <= node[TOTAL], "what is left is at least one lot, and at most all")
        invariant(node[TOTAL] <= state.spec.limits.quantity, "no order is larger than the market allows")
        invariant(0 < priority_of(node) <= state.position, "nothing is younger than the last command")
        price = price_of(node[KEY])
        asleep = node[TERMS].asleep
        invariant(asleep if price is None else 0 < price <= state.spec.limits.price, "what rests has a price")
    _audit_owners(state)
    _audit_phase(state)


def _audit_levels(state: State) -> list[Node]:
    book, nodes = state.book, []
    for keys in (book.bids, book.asks):
        invariant(keys[0] == NO_KEY and keys == sorted(set(keys)), "keys ascend behind the sentinel")
    invariant(set(book.bids[1:] + book.asks[1:]) == set(book.levels), "each key has its level")
    invariant(all(key > 0 for key in book.bids[1:]), "bids have positive keys")
    for key, level in book.levels.items():
        queue = list(book.queue(key))
        invariant(bool(queue), "no level is empty")
        invariant(level[KEY] == key and all(node[KEY] == key for node in queue), "a level has one price")
        invariant(level[QTY] == sum(node[QTY] for node in queue), "a level's sum equals its orders'")
        hidden = sum(open_quantity(node) - node[QTY] for node in queue)
        invariant(level[HIDDEN] == hidden, "a level's hidden sum equals its orders'")
        ages = [priority_of(node) for node in queue]
        invariant(ages == sorted(ages), "the queue's order is its priority")
        invariant(all(node[LEVEL] is level and node[QTY] > 0 for node in queue), "orders show what rests")
        nodes += queue
    invariant(len(book.levels) <= state.spec.limits.levels, "levels stay within the limit")
    return nodes


def _audit_beside(state: State) -> list[Node]:
    nodes = []
    for side, queue in enumerate(state.book.beside):
        ranks = [(-node[KEY], priority_of(node)) for _, _, node in queue]
        invariant(ranks == sorted(ranks), "all-or-none orders stand by price, then age")
        invariant(ranks == [entry[:2] for entry in queue], "an all-or-none order's rank is its own")
        invariant(all((node[KEY] <= 0) == bool(side) for _, _, node in queue), "on their side")
        invariant(
            all(node[TERMS].all_or_none and node[LEVEL] is None for _, _, node in queue), "and no others"
        )
        nodes += [node for _, _, node in queue]
    return nodes


def _audit_stops(state: State) -> list[Node]:
    stops = state.stops
    for queue in (stops.buys, stops.sells):
        ranks = [entry[:2] for entry in queue]
        invariant(ranks == sorted(ranks), "stops stand by trigger, then age")
    nodes = [entry[-1] for queue in (stops.buys, stops.sells, stops.trailing) for entry in queue]
    invariant(all(node[TERMS].asleep for node in nodes), "only stops sleep")
    if state.phase is Phase.CONTINUOUS and state.last is not None:
        invariant(not stops.reached(state.last), "no stop sleeps that was reached")
    return nodes


def _audit_owners(state: State) -> None:
    limits = state.spec.limits
    invariant(state.opened <= limits.orders, "open orders stay within the limit")
    dated = 0
    for node_id, owner in state.owners.items():
        invariant(len(node_id) == NODE_ID_SIZE and 0 <= owner.last_n <= MAX_INTEGER, "owners have proper ids")
        invariant(owner.node_id == node_id, "an owner is found under its id")
        invariant(list(owner.orders) == sorted(owner.orders), "an owner's orders are in the order of numbers")
        invariant(
            all(0 < n <= owner.last_n for n in owner.orders), "no order is newer than its owner's last number"
        )
        accounts: dict[str, int] = {}
        tags = {}
        for node in owner.orders.values():
            terms = node[TERMS]
            invariant(terms.owner is owner, "an order's owner has it")
            invariant(terms.plain == (type(terms) is Terms), "plain orders have plain terms")
            if terms.account:
                accounts[terms.account] = accounts.get(terms.account, 0) + 1
            if terms.tag:
                tags[terms.account, terms.tag] = node
            dated += terms.expiry is not None
        invariant(accounts == owner.accounts, "open orders are counted by account")
        invariant(tags == owner.tags, "tags name open orders")
        counts = [*accounts.values(), owner.open_of("")]
        invariant(max(counts) <= limits.orders_per_account, "accounts stay within the limit")
    invariant(dated == state.dated, "expiries are counted")
    waiting = {id(entry[2]) for entry in state.expiries}
    for owner in state.owners.values():
        for node in owner.orders.values():
            if node[TERMS].expiry is not None:
                invariant(id(node) in waiting, "every expiry is awaited")
                invariant(node[TERMS].expiry > state.timestamp, "nothing expired is open")


def _audit_phase(state: State) -> None:
    if state.phase is Phase.CONTINUOUS:
        invariant(state.book.bids[-1] + state.book.asks[-1] < 0, "the book is neither crossed nor locked")
        invariant(state.resume_at == 0, "no pause is on while orders match")
