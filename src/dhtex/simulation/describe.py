"""A failure for people: what was planned, and what happened."""

from __future__ import annotations

from collections.abc import Iterator

from dhtex.simulation.checks import Violation
from dhtex.simulation.plan import Op, Plan
from dhtex.simulation.shrink import Failure, MakeWorld
from dhtex.simulation.trace import Moment
from dhtex.simulation.world import World

MOMENTS_MAX = 60


def describe_plan(plan: Plan) -> Iterator[str]:
    """The plan in lines."""
    members = sum(not node.observer for node in plan.nodes)
    yield (
        f"seed {plan.seed}{f' salt {plan.salt}' if plan.salt else ''}: {_count(members, 'member')}, "
        f"{_count(len(plan.nodes) - members, 'observer')}, faults for {_seconds(plan.faults_until)}, "
        f"{'the exchange' if plan.exchange else 'a hash chain'}"
        f"{', a minority stays down' if plan.core_only else ''}"
    )
    network, disk = plan.network, plan.disk
    yield (
        f"network {_milliseconds(network.delay_low)} to {_milliseconds(network.delay_high)}"
        + (f", every way {_milliseconds(plan.far)} longer" if plan.far else "")
        + _rate("loss", network.loss)
        + _rate("duplicates", network.duplicate)
        + _rate("corrupt", network.corrupt)
        + _rate(f"up to {_seconds(network.tail)} late", network.tail_rate)
    )
    yield (
        f"disk {_milliseconds(disk.sync_low)} to {_milliseconds(disk.sync_high)}"
        + _rate(f"stalls of up to {_seconds(disk.stall)}", disk.stall_rate)
        + _rate("torn writes", disk.survives)
    )
    yield "clocks " + ", ".join(
        f"{node.name} {node.skew / 1000:+.0f} ms {node.drift_ppm:+d} ppm, from {_seconds(node.boot_at)}"
        for node in plan.nodes
    )
    names = [node.name for node in plan.nodes]
    for op in plan.ops:
        yield f"{op.at / 1e6:10.6f}  {_describe_op(op, names)}"


def _describe_op(op: Op, names: list[str]) -> str:
    words = [type(op).__name__.lower()]
    for field in op.__dataclass_fields__:
        value = getattr(op, field)
        match field:
            case "at":
                continue
            case "node":
                words.append(names[value])
            case "links":
                words.append(" ".join(sorted(f"{names[a]}{names[b]}" for a, b in value)))
            case "lasts" | "extra" | "delta":
                words.append(f"{field} {_seconds(value)}")
            case _:
                words.append(f"{field} {value}")
    return " ".join(words)


def timeline(
    failure: Failure, make_world: MakeWorld = World, *, moments_max: int = MOMENTS_MAX, messages: bool = False
) -> list[Moment]:
    """The last moments before the violation.

    Args:
        messages: every datagram, too.
    """
    world = make_world(failure.plan)
    world.start_trace(moments_max, messages)
    try:
        world.run()
    except Violation as violation:
        world.note("!!", str(violation))
    return list(world.trace.moments) if world.trace is not None else []


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _seconds(microseconds: int) -> str:
    return f"{microseconds / 1e6:.3f} s"


def _milliseconds(microseconds: int) -> str:
    return f"{microseconds / 1000:.2f} ms"


def _rate(what: str, rate: float) -> str:
    return f", {rate:.1%} {what}" if rate else ""
