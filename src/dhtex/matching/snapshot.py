"""The whole state as bytes, canonical: equal markets give equal bytes, however they came about.

One msgpack array:

    format, group id, position, timestamp, phase, resume_at, last, reference,
    owners:  [node id, last n]                              ascending by node id
    orders:  [owner's index, n, place, key, shown, total, priority, time, mode, terms or nil]
             displayed bids best first, asks best first, all-or-none bids, asks, then sleeping stops by age
    terms:   [kind, force, expiry, post-only, all or none, display, hidden, account, tag, trigger, trail, placed]

Rules for change: another layout is another format number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, Final

import msgpack

from dhtex.errors import MalformedMessage
from dhtex.matching.audit import audit_state
from dhtex.matching.commands import Kind, SelfTrade, Side, TimeInForce
from dhtex.matching.market import MarketSpec, Phase
from dhtex.matching.orders import (
    KEY,
    QTY,
    TERMS,
    TOTAL,
    N,
    Node,
    Owner,
    SpecialTerms,
    Terms,
    priority_of,
)
from dhtex.matching.state import State

FORMAT: Final = 2
DISPLAYED: Final = 0
BESIDE: Final = 1
ASLEEP: Final = 2

Header = tuple[int, int, int, int, int | None, int | None]
"""Position, timestamp, phase, resume_at, last, reference."""


def pack_state(
    spec: MarketSpec, header: Header, owners: Sequence[tuple[bytes, int]], orders: Sequence[Sequence[Any]]
) -> bytes:
    """The bytes of a snapshot, from rows in canonical order."""
    return bytes(msgpack.packb([FORMAT, spec.group_id, *header, owners, orders]))


def snapshot(state: State) -> bytes:
    """The bytes of *state*."""
    owners = sorted(state.owners.values(), key=lambda owner: owner.node_id)
    index = {owner.node_id: at for at, owner in enumerate(owners)}
    header = (
        state.position, state.timestamp, int(state.phase), state.resume_at, state.last, state.reference,
    )  # fmt: skip
    rows = [
        (
            index[terms.owner.node_id], node[N], place, node[KEY], node[QTY], node[TOTAL], priority_of(node),
            terms.time, int(terms.mode), _terms_row(terms),
        )
        for place, node, terms in _nodes(state)
    ]  # fmt: skip
    return pack_state(state.spec, header, [(owner.node_id, owner.last_n) for owner in owners], rows)


def _nodes(state: State) -> Iterator[tuple[int, Node, Terms]]:
    for side in Side:
        for node in state.book.orders(side):
            yield DISPLAYED, node, node[TERMS]
    for side in Side:
        for entry in state.book.beside[side]:
            yield BESIDE, entry[2], entry[2][TERMS]
    stops = [
        entry[-1] for queue in (state.stops.buys, state.stops.sells, state.stops.trailing) for entry in queue
    ]
    for node in sorted(stops, key=priority_of):
        yield ASLEEP, node, node[TERMS]


def _terms_row(terms: Terms) -> tuple[Any, ...] | None:
    if terms.plain:
        return None
    return (
        int(terms.kind), int(terms.force), terms.expiry, int(terms.post_only), int(terms.all_or_none),
        terms.display, terms.hidden, terms.account, terms.tag, terms.trigger, terms.trail, terms.placed,
    )  # fmt: skip


def restore(spec: MarketSpec, data: bytes) -> State:
    """The state that `snapshot` wrote as *data*.

    Raises:
        MalformedMessage: not a snapshot of this market, or one that no market could have written.
    """
    try:
        state = _read(spec, msgpack.unpackb(data, use_list=False))
        audit_state(state)
        same = snapshot(state) == data
    except MalformedMessage:
        raise
    except Exception as error:  # whatever the bytes, exactly one error comes out
        raise MalformedMessage("snapshot", "not a snapshot of a market") from error
    if not same:
        raise MalformedMessage("snapshot", "not in the canonical form")
    return state


def _read(spec: MarketSpec, document: Any) -> State:
    version, group_id, position, timestamp, phase, resume_at, last, reference, owners, orders = document
    if version != FORMAT:
        raise MalformedMessage("version", f"a snapshot of format {FORMAT} is needed, this is {version!r}")
    if group_id != spec.group_id:
        raise MalformedMessage("group", "the snapshot is of another market")
    state = State(spec)
    state.position, state.timestamp, state.resume_at = position, timestamp, resume_at
    state.phase, state.last, state.reference = Phase(phase), last, reference
    state.timestamp = timestamp
    records = [Owner(node_id, last_n) for node_id, last_n in owners]
    state.owners = {owner.node_id: owner for owner in records}
    nodes = []
    shared: dict[tuple[int, ...], Terms] = {}  # plain orders that can have the same terms have them again
    for row in orders:
        place, node = _node(row, records, shared)
        nodes.append(node)
        if place == DISPLAYED:
            state.book.add(node)
        elif place == BESIDE:
            state.book.add_beside(node)
        else:
            state.stops.add(node)
    for node in sorted(nodes, key=itemgetter(N)):  # an owner's orders are kept in the order of their numbers
        state.register(node)
    return state


def _node(row: Sequence[Any], owners: list[Owner], shared: dict[tuple[int, ...], Terms]) -> tuple[int, Node]:
    owner_at, n, place, key, shown, total, priority, time, mode, terms_row = row
    numbers = (owner_at, n, place, key, shown, total, priority, time, mode)
    if not set(map(type, numbers)) == {int} or not (0 <= place <= ASLEEP and owner_at >= 0 and shown > 0):
        raise MalformedMessage("snapshot", "an order has a field that is none")
    owner, ahead, mode = owners[owner_at], priority - n, int(SelfTrade(mode))
    if terms_row is not None:
        terms: Terms = SpecialTerms(owner, time, ahead, mode, **_fields(terms_row))
    else:
        known = (owner_at, time, ahead, mode)
        terms = shared.get(known) or shared.setdefault(known, Terms(owner, time, ahead, mode))
    return place, [None, None, shown, key, None, n, total, terms]


def _fields(row: Sequence[Any]) -> dict[str, Any]:
    kind, force, expiry, post_only, all_or_none, display, hidden, account, tag, trigger, trail, placed = row
    numbers = {type(value) for value in (expiry, display, hidden, trigger, trail, placed)}
    if not numbers <= {int, type(None)} or {type(account), type(tag)} != {str} or hidden < 0:
        raise MalformedMessage("snapshot", "an order has terms that are none")
    return {
        "kind": int(Kind(kind)),
        "force": int(TimeInForce(force)),
        "expiry": expiry,
        "post_only": bool(post_only),
        "all_or_none": bool(all_or_none),
        "display": display,
        "hidden": hidden,
        "account": account,
        "tag": tag,
        "trigger": trigger,
        "trail": trail,
        "placed": placed,
    }
