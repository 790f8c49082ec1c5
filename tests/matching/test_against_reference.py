"""The engine and the slow reference, driven together over every command and option.

Each step feeds one batch to both, and command by command to a third engine that is restored from a snapshot now
and then. Events, their canonical bytes, snapshots and digests must be equal, every invariant must hold, and no lot
may come or go.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dhtex.matching import (
    Accepted,
    Amended,
    Cancel,
    Cancelled,
    Command,
    Event,
    Expired,
    Limits,
    MarketSpec,
    MatchingEngine,
    OrderId,
    Phase,
    Place,
    Trade,
    encode_commands,
)
from dhtex.matching.audit import audit
from dhtex.matching.reference import ReferenceEngine
from matching import strategies

TIGHT = Limits(orders=30, orders_per_account=12, levels=8, text=64, slices=6, contingent=4)


def specs() -> st.SearchStrategy[MarketSpec]:
    return st.builds(
        MarketSpec,
        st.just("TEST"),
        limits=st.sampled_from([Limits(), Limits(), TIGHT]),
        opening=st.sampled_from([Phase.CONTINUOUS, Phase.CONTINUOUS, Phase.AUCTION]),
        operator=st.just(strategies.NODES[0]),
        dynamic_band_bps=st.sampled_from([0, 0, 0, 200]),
        static_band_bps=st.sampled_from([0, 0, 0, 300]),
        pause_us=st.integers(1, 20),
    )


class Books:
    """Where every lot went, told from events alone."""

    def __init__(self) -> None:
        self.left: Counter[OrderId] = Counter()

    def read(self, events: tuple[Event, ...]) -> None:
        for event in events:
            match event:
                case Accepted(order=order, command=Place(quantity=quantity)):
                    assert order not in self.left, "an id is used once"
                    self.left[order] = quantity
                case Trade(quantity=quantity, maker=maker, taker=taker):
                    self.left[maker] -= quantity
                    self.left[taker] -= quantity
                    assert self.left[maker] >= 0
                    assert self.left[taker] >= 0
                case Cancelled(order=order, quantity=quantity, remaining=remaining):
                    self.left[order] -= quantity
                    assert self.left[order] == remaining
                case Expired(order=order, quantity=quantity):
                    self.left[order] -= quantity
                    assert self.left[order] == 0
                case Amended(order=order, quantity=quantity):
                    self.left[order] = quantity
                case _:
                    pass


class Comparison(RuleBasedStateMachine):
    """What the machines below share: feeding all engines, and what must hold after every step."""

    def start(self, spec: MarketSpec) -> None:
        self.spec = spec
        self.engine = MatchingEngine(spec)
        self.reference = ReferenceEngine(spec)
        self.copied = MatchingEngine(spec)
        self.books = Books()
        self.numbers = dict.fromkeys(strategies.NODES, 0)
        self.time = 1
        self.depth: dict[tuple[int, int], int] = {}

    def feed(self, owner: bytes, commands: list[Command], skip: int = 0, gap: int = 1) -> None:
        first_n = self.numbers[owner] + gap
        self.numbers[owner] = max(self.numbers[owner], first_n + len(commands) - 1)
        batch = encode_commands(commands)
        position = self.engine.position + 1
        ours, theirs = (
            engine.apply_batch(
                batch,
                owner=owner,
                first_n=first_n,
                count=len(commands),
                timestamp=self.time,
                position=position,
                skip=skip,
            )
            for engine in (self.engine, self.reference)
        )
        changes = self.engine.changes(ours)
        assert ours.events() == theirs.events()
        assert ours.digest_bytes == theirs.digest_bytes
        self.books.read(ours.events())
        events: list[Event] = []
        for at, command in enumerate(commands[skip:]):  # one by one it comes out the same
            n = first_n + skip + at
            events += self.copied.apply(
                command, owner=owner, n=n, timestamp=self.time, position=position + at
            )
        assert tuple(events) == ours.events()
        for side, price, lots in changes:
            if lots:
                self.depth[side, price] = lots
            else:
                self.depth.pop((side, price), None)

    @rule(step=st.integers(1, 15))
    def pass_time(self, step: int) -> None:
        self.time += step

    @rule()
    def restart(self) -> None:
        self.copied = MatchingEngine(self.spec)
        self.copied.restore(self.engine.snapshot())

    @invariant()
    def equal(self) -> None:
        assert self.engine.snapshot() == self.reference.snapshot() == self.copied.snapshot()
        assert self.engine.digest() == self.reference.digest()
        assert self.engine.depth() == self.reference.depth()
        assert self.engine.indication() == self.reference.indication()

    @invariant()
    def sound(self) -> None:
        audit(self.engine)

    @invariant()
    def deltas_lead_from_depth_to_depth(self) -> None:
        depth = self.engine.depth()
        assert self.depth == {(side, price): lots for side in (0, 1) for price, lots in depth[side]}

    @invariant()
    def no_lot_comes_or_goes(self) -> None:
        left = {order: quantity for order, quantity in self.books.left.items() if quantity}
        assert left == {order.id: order.remaining for order in self.engine.orders()}


class AnyCommands(Comparison):
    """Every command and option, in markets with bands, auctions and tight limits."""

    @initialize(spec=specs())
    def open_market(self, spec: MarketSpec) -> None:
        self.start(spec)

    @rule(
        owner=st.sampled_from(strategies.NODES),
        commands=st.lists(strategies.placements(), min_size=1, max_size=6),
    )
    def place(self, owner: bytes, commands: list[Command]) -> None:
        self.feed(owner, commands)

    @rule(
        owner=st.sampled_from(strategies.NODES),
        commands=st.lists(strategies.plain_limits(), min_size=1, max_size=8),
    )
    def place_plain(self, owner: bytes, commands: list[Command]) -> None:
        self.feed(owner, commands)

    @rule(owner=st.sampled_from(strategies.NODES), data=st.data())
    def change(self, owner: bytes, data: st.DataObject) -> None:
        n_max = max(self.numbers.values())
        self.feed(owner, data.draw(st.lists(strategies.changes(n_max), min_size=1, max_size=4)))

    @precondition(lambda self: len(self.engine) > 0)
    @rule(data=st.data())
    def change_open(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(list(self.engine.orders()))).id.node_id
        mine = st.sampled_from(list(self.engine.orders(owner)))
        self.feed(owner, data.draw(st.lists(mine.flatmap(strategies.changes_of), min_size=1, max_size=5)))

    @rule(owner=st.sampled_from(strategies.NODES), data=st.data())
    def cancel_and_place(self, owner: bytes, data: st.DataObject) -> None:
        n_max = self.numbers[owner]
        mixed = st.one_of(strategies.changes(n_max), strategies.placements())
        self.feed(owner, data.draw(st.lists(mixed, min_size=1, max_size=5)))

    @rule(
        owner=st.sampled_from(strategies.NODES[:2]),
        commands=st.lists(strategies.phases(), min_size=1, max_size=2),
    )
    def change_phase(self, owner: bytes, commands: list[Command]) -> None:
        self.feed(owner, commands)

    @rule(owner=st.sampled_from(strategies.NODES), command=strategies.plain_limits(), gap=st.integers(-2, 3))
    def repeat_number(self, owner: bytes, command: Command, gap: int) -> None:
        if self.numbers[owner] + gap >= 1:
            self.feed(owner, [command, command], gap=gap)

    @rule(
        owner=st.sampled_from(strategies.NODES),
        commands=st.lists(strategies.placements(), min_size=2, max_size=4),
    )
    def skip_some(self, owner: bytes, commands: list[Command]) -> None:
        self.feed(owner, commands, skip=len(commands) // 2)


class PlainCommands(Comparison):
    """Mostly what `apply_batch` carries out in its own loop, with a stop among it now and then."""

    @initialize()
    def open_market(self) -> None:
        self.start(MarketSpec("TEST"))

    @rule(
        owner=st.sampled_from(strategies.NODES),
        commands=st.lists(strategies.plain_limits(), min_size=1, max_size=12),
    )
    def place_plain(self, owner: bytes, commands: list[Command]) -> None:
        self.feed(owner, commands)

    @rule(owner=st.sampled_from(strategies.NODES), command=strategies.stops())
    def place_stop(self, owner: bytes, command: Command) -> None:
        self.feed(owner, [command])

    @precondition(lambda self: len(self.engine) > 0)
    @rule(data=st.data())
    def cancel_some(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(list(self.engine.orders()))).id.node_id
        mine = st.sampled_from([order.id for order in self.engine.orders(owner)])
        mixed = st.one_of(mine.map(Cancel), mine.map(Cancel), strategies.plain_limits())
        self.feed(owner, data.draw(st.lists(mixed, min_size=1, max_size=8)))


def quick(examples: int) -> settings:
    return settings(
        max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )


AnyCommands.TestCase.settings = quick(80)
TestAnyCommands = AnyCommands.TestCase

PlainCommands.TestCase.settings = quick(120)
TestPlainCommands = PlainCommands.TestCase


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", [AnyCommands, PlainCommands])
def test_long_hunt(machine: type[Comparison]) -> None:
    longer = settings(
        max_examples=1_000, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(machine, settings=longer)
