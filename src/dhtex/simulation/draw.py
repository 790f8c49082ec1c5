"""From a seed to a plan, by swarm testing: each seed turns some faults off and the rest to wild rates.

Runs in which everything goes wrong all the time hardly get anywhere, and so find little. Source: Groce et
al., *Swarm Testing*, 2012; TigerBeetle `src/testing/fuzz.zig`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from dhtex.replication import ReplicaConfig
from dhtex.simulation.plan import (
    MILLISECOND,
    SECOND,
    Blackout,
    Crash,
    Cut,
    DiskPlan,
    Full,
    Leave,
    NetworkPlan,
    NodePlan,
    Op,
    Pause,
    Plan,
    Rejoin,
    Slow,
    StepClock,
    Submit,
    Wipe,
)

NODES_MAX = 9
FAULT_OFF = 0.55
"""How often a kind of fault is off altogether."""


def draw_plan(seed: int, *, members: int | None = None, exchange: bool | None = None) -> Plan:
    """The plan of *seed*; the same on every machine.

    Args:
        members: how many peers become members; drawn from 1 to 7 when not given.
        exchange: whether the real engine runs; one seed in eight when not given.
    """
    rng = random.Random(seed)
    chosen = rng.choices((1, 2, 3, 4, 5, 6, 7), (2, 5, 30, 12, 30, 5, 8))[0]
    count = chosen if members is None else members
    observers = rng.choice((0, 0, 0, 1, 2))
    faults_until = rng.randint(6, 25) * SECOND
    on_exchange = rng.random() < 1 / 8
    misses = 0.0 if rng.random() < 0.93 else rng.choice((0.3, 0.8))
    nodes = _nodes(rng, count, min(observers, NODES_MAX - count), faults_until)
    network, disk, config = _network(rng), _disk(rng), _config(rng)
    return Plan(
        seed=seed,
        nodes=nodes,
        network=network,
        disk=disk,
        config=config,
        discovery_misses=misses,
        real_keys=rng.random() < 1 / 40,
        exchange=on_exchange if exchange is None else exchange,
        faults_until=faults_until,
        core_only=rng.random() < 0.5 and not misses,
        ops=_ops(rng, count, len(nodes), faults_until),
        far=_far(rng, config),
    )


def _sometimes(rng: random.Random, value: Callable[[], float]) -> float:
    return 0.0 if rng.random() < FAULT_OFF else value()


def _log_uniform(rng: random.Random, low: float, high: float) -> int:
    return int(low * (high / low) ** rng.random())


def _nodes(rng: random.Random, members: int, observers: int, faults_until: int) -> tuple[NodePlan, ...]:
    """Most seeds start their members together (a founding race), the others let some come later."""
    skew_max = rng.choice((0, 5, 80, 400)) * MILLISECOND
    drift_max = rng.choice((0, 0, 50, 5_000))
    late = rng.random() < 0.4
    plans = []
    for index in range(members + observers):
        later = index >= members or (late and index >= 1 and rng.random() < 0.5)
        boot_at = rng.randint(0, faults_until // 2) if later else rng.randint(0, 300 * MILLISECOND)
        plans.append(
            NodePlan(
                name=chr(ord("A") + index),
                boot_at=boot_at,
                observer=index >= members,
                skew=rng.randint(-skew_max, skew_max),
                drift_ppm=rng.randint(-drift_max, drift_max),
            )
        )
    return tuple(plans)


def _network(rng: random.Random) -> NetworkPlan:
    low = _log_uniform(rng, 50, 30_000)
    return NetworkPlan(
        delay_low=low,
        delay_high=low + _log_uniform(rng, 50, 60_000),
        tail_rate=_sometimes(rng, lambda: rng.choice((0.001, 0.02, 0.2))),
        tail=rng.randint(20, 1_500) * MILLISECOND,
        loss=_sometimes(rng, lambda: rng.choice((0.01, 0.05, 0.2, 0.4))),
        duplicate=_sometimes(rng, lambda: rng.choice((0.01, 0.1, 0.5))),
        corrupt=_sometimes(rng, lambda: rng.choice((0.001, 0.02, 0.1))),
    )


def _far(rng: random.Random, config: ReplicaConfig) -> int:
    """Some groups span continents: an answer takes longer than a ballot may. Their limits are no small ones."""
    return (
        rng.choice((60, 150, 200)) * MILLISECOND if rng.random() < 1 / 5 and config == ReplicaConfig() else 0
    )


def _disk(rng: random.Random) -> DiskPlan:
    low = _log_uniform(rng, 20, 3_000)
    return DiskPlan(
        sync_low=low,
        sync_high=low + _log_uniform(rng, 20, 20_000),
        stall_rate=_sometimes(rng, lambda: rng.choice((0.001, 0.02))),
        stall=rng.randint(20, 2_000) * MILLISECOND,
        survives=rng.choice((0.0, 0.5, 1.0)),
    )


def _config(rng: random.Random) -> ReplicaConfig:
    """The defaults, or limits so small that every overflow path is taken."""
    if rng.random() < 0.4:
        return ReplicaConfig()
    default = ReplicaConfig()
    hasty = rng.random() < 0.4  # proposers hardly wait for each other, so ballots compete
    return ReplicaConfig(
        rank_delay=20 * MILLISECOND if hasty else default.rank_delay,
        gather_time=rng.choice((1, 15)) * MILLISECOND if hasty else default.gather_time,
        ballot_timeout=rng.choice((100, 200)) * MILLISECOND if hasty else default.ballot_timeout,
        resend_interval=15 * MILLISECOND if hasty else default.resend_interval,
        heartbeat_interval=rng.choice((50, 100, 200, 400)) * MILLISECOND,
        ceiling_ahead=rng.choice((5, 200, 900)) * MILLISECOND,
        suspect_after=rng.choice((500, 1_000, 2_000)) * MILLISECOND,
        entry_commands_max=rng.choice((4, 40, default.entry_commands_max)),
        pipeline_max=rng.choice((1, 2, default.pipeline_max, 64)),
        accept_within=rng.choice((0, default.accept_within)),
        ahead_entries_max=rng.choice((2, default.ahead_entries_max)),
        fetch_bytes_max=rng.choice((4 * 1024, default.fetch_bytes_max)),
        message_bytes_max=rng.choice((1024, default.message_bytes_max)),
        history_bytes_max=rng.choice((1, 4 * 1024, default.history_bytes_max)),
        history_reply_bytes_max=rng.choice((1024, default.history_reply_bytes_max)),
        join_within=rng.choice((1, 20, default.join_within)),
        snapshot_every=rng.choice((10, 100, default.snapshot_every)),
        piece_bytes=rng.choice((64, default.piece_bytes)),
        pieces_in_flight=rng.choice((1, default.pieces_in_flight)),
    )


def _ops(rng: random.Random, members: int, nodes: int, until: int) -> tuple[Op, ...]:
    ops: list[Op] = list(_workload(rng, members, until))
    quiet = rng.choice((0, 0, 3)) * SECOND  # some groups form in peace
    for kind in (_crashes, _pauses, _cuts, _clock_steps, _disk_trouble, _memberships):
        if rng.random() >= FAULT_OFF:
            often = _log_uniform(rng, 0.4 * SECOND, until)
            ops += kind(rng, _moments(rng, quiet, until, often), members, nodes, until)
    return tuple(sorted(ops, key=lambda op: op.at))


def _moments(rng: random.Random, begin: int, end: int, often: int) -> list[int]:
    moments, at = [], begin
    while (at := at + int(rng.expovariate(1 / often)) + 1) < end:
        moments.append(at)
    return moments


def _workload(rng: random.Random, members: int, until: int) -> list[Op]:
    """Steady drops, or bursts, from everybody or from one busy peer."""
    often = _log_uniform(rng, 40 * MILLISECOND, 3 * SECOND)
    burst = rng.choice((1, 1, 3, 30, 300))
    busy = rng.randrange(members) if rng.random() < 0.3 else None
    return [
        Submit(
            at=at,
            node=busy if busy is not None and rng.random() < 0.8 else rng.randrange(members),
            count=rng.randint(1, burst),
        )
        for at in _moments(rng, 0, until, often)
    ]


def _crashes(rng: random.Random, moments: list[int], members: int, nodes: int, until: int) -> list[Op]:
    longest = rng.choice((100 * MILLISECOND, 2 * SECOND, 8 * SECOND))
    blackouts = rng.choice((0.0, 0.0, 0.2))
    wipes = rng.choice((0.0, 0.0, 0.1))
    ops: list[Op] = []
    for at in moments:
        lasts, chance = _log_uniform(rng, MILLISECOND, longest), rng.random()
        if chance < blackouts:
            ops.append(Blackout(at=at, lasts=lasts))
        elif chance < blackouts + wipes:
            ops.append(Wipe(at=at, node=rng.randrange(nodes), lasts=lasts))
        else:
            ops.append(Crash(at=at, node=rng.randrange(nodes), lasts=lasts))
    return ops


def _pauses(rng: random.Random, moments: list[int], members: int, nodes: int, until: int) -> list[Op]:
    longest = rng.choice((200 * MILLISECOND, 3 * SECOND, 8 * SECOND))
    return [
        Pause(at=at, node=rng.randrange(nodes), lasts=_log_uniform(rng, MILLISECOND, longest))
        for at in moments
    ]


def _cuts(rng: random.Random, moments: list[int], members: int, nodes: int, until: int) -> list[Op]:
    longest = rng.choice((500 * MILLISECOND, 3 * SECOND, 10 * SECOND))
    everyone = range(nodes)
    ops: list[Op] = []
    for at in moments:
        side = {node for node in everyone if rng.random() < 0.5}
        links = {(a, b) for a in everyone for b in everyone if a != b and (a in side) != (b in side)}
        shape = rng.choice(("split", "one-way", "partial", "deaf", "mute"))
        if shape == "one-way":
            links = {(a, b) for a, b in links if a in side}
        elif shape == "partial":
            links = {(a, b) for a in everyone for b in everyone if a != b and rng.random() < 0.3}
        elif shape in {"deaf", "mute"}:
            victim = rng.randrange(nodes)
            links = {
                (a, b)
                for a in everyone
                for b in everyone
                if a != b and victim == (b if shape == "deaf" else a)
            }
        ops.append(Cut(at=at, lasts=_log_uniform(rng, 20 * MILLISECOND, longest), links=frozenset(links)))
    return ops


def _clock_steps(rng: random.Random, moments: list[int], members: int, nodes: int, until: int) -> list[Op]:
    """Forward steps stay small: a clock far ahead is refused for as long as it is ahead."""
    furthest = rng.choice((50 * MILLISECOND, 700 * MILLISECOND, 3 * SECOND))
    return [
        StepClock(at=at, node=rng.randrange(nodes), delta=rng.randint(-2 * furthest, furthest))
        for at in moments
    ]


def _disk_trouble(rng: random.Random, moments: list[int], members: int, nodes: int, until: int) -> list[Op]:
    longest = rng.choice((500 * MILLISECOND, 6 * SECOND))
    ops: list[Op] = []
    for at in moments:
        node, lasts = rng.randrange(nodes), _log_uniform(rng, 10 * MILLISECOND, longest)
        if rng.random() < 0.5:
            extra = _log_uniform(rng, MILLISECOND, 800 * MILLISECOND)
            ops.append(Slow(at=at, node=node, lasts=lasts, extra=extra))
        else:
            ops.append(Full(at=at, node=node, lasts=lasts))
    return ops


def _memberships(rng: random.Random, moments: list[int], members: int, nodes: int, until: int) -> list[Op]:
    """Peers leave, often two at once, and most come back."""
    ops: list[Op] = []
    for at in moments:
        for node in rng.sample(range(nodes), k=min(nodes, rng.choice((1, 1, 2)))):
            ops.append(Leave(at=at, node=node))
            ops.append(Rejoin(at=at + _log_uniform(rng, 300 * MILLISECOND, 6 * SECOND), node=node))
    return ops
