"""Plans made to have more of what is rare in those that are drawn."""

from __future__ import annotations

from dataclasses import replace

from dhtex.replication import ReplicaConfig
from dhtex.simulation import Plan
from dhtex.simulation.plan import MILLISECOND, SECOND, Crash, Leave, Op, Pause, Rejoin, Submit, Wipe


def comings_and_goings(plan: Plan) -> Plan:
    """Members leave and come back all the time, two at once every now and then; much is late, disks stall."""
    members = [index for index, node in enumerate(plan.nodes) if not node.observer]
    ops: list[Op] = [*[op for op in plan.ops if isinstance(op, Submit)][:20]]
    for turn, at in enumerate(range(2 * SECOND, plan.faults_until, 600 * MILLISECOND)):
        for other in range(1 + (turn % 3 == 0)):
            node = members[(turn + other) % len(members)]
            ops.append(Leave(at=at, node=node))
            ops.append(Rejoin(at=at + (300 + 97 * turn % 900) * MILLISECOND, node=node))
    network = replace(
        plan.network,
        delay_low=1 * MILLISECOND,
        delay_high=20 * MILLISECOND,
        tail_rate=0.1,
        tail=1500 * MILLISECOND,
        loss=0.1,
        duplicate=0.3,
    )
    disk = replace(plan.disk, stall_rate=0.02, stall=800 * MILLISECOND)
    ordered = tuple(sorted(ops, key=lambda op: op.at))
    return replace(plan, ops=ordered, network=network, disk=disk, far=0, discovery_misses=0.0)


def far_apart(plan: Plan) -> Plan:
    """Answers take longer than a ballot may at first."""
    return replace(plan, far=300 * MILLISECOND, config=ReplicaConfig(ballot_timeout=400 * MILLISECOND))


def duels(plan: Plan) -> Plan:
    """Ballots compete: everybody is hasty, much is lost or late, and every second somebody is suspected."""
    config = replace(
        plan.config,
        rank_delay=5 * MILLISECOND,
        gather_time=1 * MILLISECOND,
        ballot_timeout=70 * MILLISECOND,
        resend_interval=15 * MILLISECOND,
        suspect_after=400 * MILLISECOND,
        heartbeat_interval=100 * MILLISECOND,
    )
    network = replace(
        plan.network, delay_low=1_000, delay_high=9_000, loss=0.3, tail_rate=0.3, tail=200 * MILLISECOND
    )
    ops: list[Op] = [
        Pause(at=at, node=at // SECOND % len(plan.nodes), lasts=600 * MILLISECOND)
        for at in range(2 * SECOND, plan.faults_until, SECOND)
    ]
    ops += [op for op in plan.ops if isinstance(op, Submit)]
    return replace(plan, config=config, network=network, far=0, ops=tuple(sorted(ops, key=lambda op: op.at)))


def lost_disks(plan: Plan) -> Plan:
    """Every crash takes the disk along, and the peer is back at once."""
    ops = (
        Wipe(at=op.at, node=op.node, lasts=50 * MILLISECOND) if isinstance(op, Crash) else op
        for op in plan.ops
    )
    return replace(plan, ops=tuple(ops))
