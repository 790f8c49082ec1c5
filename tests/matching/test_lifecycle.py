"""The tables of states, against what the engine does; and the docs, against the tables."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import pytest

from dhtex.matching import (
    Amend,
    Cancel,
    CancelAll,
    Command,
    Event,
    Kind,
    MatchingEngine,
    Order,
    OrderId,
    Phase,
    PhaseChanged,
    Place,
    Rejected,
    RejectReason,
    SetPhase,
    Side,
    TimeInForce,
    Trade,
)
from dhtex.matching.events import CancelReason
from dhtex.matching.lifecycle import ORDER, PHASES, Life, diagram
from matching.digest_worker import NODES, SPEC, Dice, commands

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "matching.md").read_text(encoding="utf-8")


def place_of(order: Order | None, known: bool) -> Life:
    if order is None:
        return Life.GONE if known else Life.UNKNOWN
    if order.trail is not None or order.trigger is not None:
        return Life.ASLEEP
    return Life.BESIDE if order.all_or_none else Life.RESTING


def named(event: Event) -> list[OrderId]:
    match event:
        case Trade(maker=maker, taker=taker):
            return [maker, taker]
        case PhaseChanged():
            return []
        case _:
            return [event.order]


def observe(batches: int) -> tuple[set[tuple[Life, str, Life]], set[tuple[Phase, str, Phase]]]:
    """Every transition of a long run of the worker's commands."""
    dice, engine = Dice(), MatchingEngine(SPEC)
    numbers = dict.fromkeys(NODES, 0)
    lives, phases = set[tuple[Life, str, Life]](), set[tuple[Phase, str, Phase]]()
    placed: dict[OrderId, Life] = {}
    for time in range(1, batches + 1):
        owner = NODES[dice.roll(3)]
        for command in commands(dice, time, numbers[owner]):
            numbers[owner] += 1
            was = engine.phase
            events = engine.apply(command, owner=owner, n=numbers[owner], timestamp=time)
            if engine.phase is not was:
                by_itself = "end of the pause" if was is Phase.AUCTION else "price band"
                cause = "SetPhase" if isinstance(command, SetPhase) else by_itself
                phases.add((was, cause, engine.phase))
            last = {
                order: type(e).__name__ for e in events if not isinstance(e, Rejected) for order in named(e)
            }
            for order, event in last.items():
                before = placed.get(order, Life.UNKNOWN)
                after = place_of(engine.order(order), known=True)
                placed[order] = after
                lives.add((before, event, after))
    return lives, phases


@pytest.fixture(scope="module")
def observed() -> tuple[set[tuple[Life, str, Life]], set[tuple[Phase, str, Phase]]]:
    return observe(4_000)


def test_orders_live_as_the_table_says(observed: tuple[set[tuple[Life, str, Life]], object]) -> None:
    lives = {step for step in observed[0] if step[2] is not Life.UNKNOWN}
    # A `CancelAll` is accepted under an id of its own, which is no order's.
    assert lives - {(Life.UNKNOWN, "Accepted", Life.GONE)} == ORDER


def test_phases_change_as_the_table_says(observed: tuple[object, set[tuple[Phase, str, Phase]]]) -> None:
    operator, phases = SPEC.operator, set(observed[1])
    for before in Phase:
        for after in Phase:
            engine = MatchingEngine(SPEC)
            engine.apply(SetPhase(before), owner=operator, n=1, timestamp=1)
            assert engine.phase is before
            engine.apply(SetPhase(after), owner=operator, n=2, timestamp=2)
            if engine.phase is not before:
                phases.add((before, "SetPhase", engine.phase))
    assert phases == PHASES


@pytest.mark.parametrize("phase", Phase)
def test_what_each_phase_takes(phase: Phase) -> None:
    engine, operator, member = MatchingEngine(SPEC), SPEC.operator, NODES[1]
    engine.apply(Place(Side.BUY, 5, 90), owner=member, n=1, timestamp=1)
    engine.apply(
        Place(Side.BUY, 5, 91, time_in_force=TimeInForce.GTD, expiry=9), owner=member, n=2, timestamp=1
    )
    engine.apply(SetPhase(phase), owner=operator, n=1, timestamp=2)
    halted = phase is Phase.HALTED

    def refused(command: Command, n: int, timestamp: int = 3) -> RejectReason | None:
        answer = engine.apply(command, owner=member, n=n, timestamp=timestamp)[-1]
        return answer.reason if isinstance(answer, Rejected) else None

    assert refused(Place(Side.BUY, 5, 92), 3) is (RejectReason.HALTED if halted else None)
    assert (
        refused(Place(Side.BUY, 5, kind=Kind.MARKET), 4)
        is {
            Phase.CONTINUOUS: None,
            Phase.AUCTION: RejectReason.NOT_IN_AUCTION,
            Phase.HALTED: RejectReason.HALTED,
        }[phase]
    )
    assert refused(Amend(OrderId(member, 1), 4), 5) is (RejectReason.HALTED if halted else None)
    assert refused(Cancel(OrderId(member, 1)), 6) is None
    assert engine.order(OrderId(member, 2)) is not None
    assert refused(CancelAll(), 7, timestamp=9) is None
    assert len(engine) == 0


@pytest.mark.parametrize("table", [ORDER, PHASES], ids=["order", "phases"])
def test_the_docs_show_the_tables(table: frozenset[tuple[Enum, str, Enum]]) -> None:
    assert diagram(table) in REFERENCE


def test_the_docs_name_every_reason_in_order() -> None:
    at = [REFERENCE.index(f"| {reason.value} | `{reason.name}` |") for reason in RejectReason]
    assert at == sorted(at)
    assert all(f"`{reason.name}`" in REFERENCE for reason in CancelReason)
