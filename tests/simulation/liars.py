"""Plans in which one member lies, and nothing else goes wrong that would keep the others from hearing each other."""

from __future__ import annotations

from dataclasses import replace

from dhtex.simulation import Plan, draw_plan
from dhtex.simulation.plan import MILLISECOND, Divide, Op, Submit

LIAR = 0


def with_a_liar(plan: Plan) -> Plan:
    """The first peer begins to lie half way through, unless there are too few to tell; all are busy then."""
    if sum(not node.observer for node in plan.nodes) < 3:
        return plan
    at = plan.faults_until // 2
    count = len(plan.nodes)
    ops: list[Op] = [op for op in plan.ops if isinstance(op, Submit)]
    ops.append(Divide(at=at, node=LIAR))
    for turn in range(12):
        ops.append(Submit(at=at + turn * 14 * MILLISECOND, node=LIAR, count=1))
        ops.append(Submit(at=at + (turn * 14 + 7) * MILLISECOND, node=turn % count, count=1))
    network, disk = plan.network, plan.disk
    return replace(
        plan,
        ops=tuple(sorted(ops, key=lambda op: op.at)),
        nodes=tuple(
            replace(n, skew=n.skew // 5, boot_at=n.boot_at % (300 * MILLISECOND)) for n in plan.nodes
        ),
        network=replace(
            network,
            delay_low=min(network.delay_low, 5 * MILLISECOND),
            delay_high=min(network.delay_high, 20 * MILLISECOND),
            tail=min(network.tail, 100 * MILLISECOND),
            loss=min(network.loss, 0.05),
        ),
        disk=replace(disk, stall=min(disk.stall, 50 * MILLISECOND)),
        discovery_misses=0.0,
        core_only=False,
        far=0,
    )


def draw_liar(seed: int, members: int) -> Plan:
    """The plan of *seed*, with a liar."""
    return with_a_liar(draw_plan(seed, members=members, exchange=False))
