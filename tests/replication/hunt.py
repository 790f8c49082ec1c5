"""Random histories on a small cluster: faults at rates the seed draws, then healing, then everything must be final."""

from __future__ import annotations

from dhtex.replication import ReplicaConfig
from replication.cluster import MS, SECOND, Cluster, Network, Node

FAST = ReplicaConfig(
    suspect_after=300 * MS,
    stalled_after=900 * MS,
    ballot_timeout=300 * MS,
    gather_time=60 * MS,
    rank_delay=60 * MS,
    follow_timeout=400 * MS,
    poll_hold=150 * MS,
    joiner_memory=SECOND,
    snapshot_every=60,
    history_bytes_max=8 * 1024,
    piece_bytes=256,
    max_drift=3 * SECOND,
)
"""Impatient timings and little memory, so that a short history reaches every corner."""


def history(seed: int, config: ReplicaConfig = FAST, only: tuple[str, ...] = ()) -> Cluster:
    """One random history under faults (or *only* some kinds of them), checked all the time and at its end.

    Raises:
        AssertionError: with the seed.
    """
    try:
        return _history(seed, config, only)
    except (AssertionError, RuntimeError) as error:
        raise AssertionError(f"seed {seed}: {error}") from error


def _history(seed: int, config: ReplicaConfig, only: tuple[str, ...]) -> Cluster:
    cluster = Cluster(seed, 0, config, Network())
    rnd = cluster.random
    size = rnd.choice([1, 2, 3, 3, 3, 4, 5, 5])
    cluster.add(size)
    cluster.disk_slow = rnd.choice([20, 300, 3_000, 30_000])
    for node in cluster.nodes:
        node.skew = rnd.randrange(-80 * MS, 80 * MS)
    cluster.form()
    network = cluster.network
    # Swarm testing: some faults are off, the rest are wild.
    network.loss = rnd.choice([0, 0, 0.05, 0.4])
    network.duplicate = rnd.choice([0, 0.2])
    network.delay, network.jitter = rnd.choice([(200, 100), (5 * MS, 10 * MS), (20 * MS, 60 * MS)])
    rates = {fault: rnd.choice([0, 0, 1, 3]) for fault in ("crash", "cut", "clock", "leave", "disk")}
    if only:
        rates = dict.fromkeys(only, 3)
    rates |= {"submit": rnd.choice([5, 40, 200])}
    choices = [fault for fault, rate in rates.items() for _ in range(rate)]
    end = cluster.time + 4 * SECOND
    while cluster.time < end:
        cluster.run(rnd.randrange(1, 40 * MS))
        _step(cluster, rnd.choice(choices))
    _heal(cluster)
    settled = cluster.run(60 * SECOND, lambda: cluster.settled(cluster.nodes))
    assert settled, "not settled:\n" + "\n".join(cluster.roles())
    cluster.check_all()
    return cluster


def _step(cluster: Cluster, what: str) -> None:
    rnd = cluster.random
    node = rnd.choice(cluster.nodes)
    match what:
        case "submit":
            cluster.submit(node, rnd.choice([1, 1, 1, 5, 50]))
        case "crash":
            down = [n for n in cluster.nodes if not n.running]
            if down and rnd.random() < 0.6:
                cluster.restart(rnd.choice(down))
            else:
                node.crash()
        case "cut":
            _cut(cluster, node)
        case "clock":
            node.skew += rnd.choice([-2 * SECOND, -100 * MS, 100 * MS, 500 * MS])
            node.skew = max(min(node.skew, SECOND), -SECOND - 900 * MS)
        case "relapse":  # a crash whose wall clock comes back as it was some time ago
            if node.running:
                node.crash()
                node.skew = max(node.skew - 500 * MS, -SECOND - 900 * MS)
                cluster.restart(node)
        case "leave":
            if node.running and node.replica.role.value == "member":
                node.do(lambda replica, now: replica.leave(now))
                cluster.after(rnd.randrange(SECOND), lambda: _back(cluster, node))
        case "disk":
            if node.running:
                node.do(lambda replica, now: replica.storage_full(now))
                cluster.after(rnd.randrange(SECOND), lambda: _room(node))


def _back(cluster: Cluster, node: Node) -> None:
    if node.running and node.replica.role.value == "left":
        contacts = [other.contact for other in cluster.nodes if other is not node]
        node.do(lambda replica, now: replica.join(contacts, now))
    elif node.running:
        cluster.after(SECOND // 4, lambda: _back(cluster, node))


def _room(node: Node) -> None:
    if node.running:
        node.do(lambda replica, now: replica.storage_ok(now))


def _cut(cluster: Cluster, node: Node) -> None:
    rnd, network = cluster.random, cluster.network
    match rnd.randrange(4):
        case 0:
            cluster.heal()
        case 1:
            side = [n for n in cluster.nodes if rnd.random() < 0.5]
            cluster.partition(side, [n for n in cluster.nodes if n not in side])
        case 2:  # one way only
            other = rnd.choice(cluster.nodes)
            network.cut.add((node.address, other.address))
        case 3:  # it hears everyone and nobody hears it
            network.cut |= {(node.address, other.address) for other in cluster.nodes}


def _heal(cluster: Cluster) -> None:
    cluster.heal()
    network = cluster.network
    network.loss, network.duplicate = min(network.loss, 0.1), 0
    cluster.disk_slow = min(cluster.disk_slow, 3_000)
    for node in cluster.nodes:
        node.skew = max(min(node.skew, SECOND // 4), -SECOND // 4)
        if not node.running:
            cluster.restart(node)
        _room(node)


def contradiction(seeds: range, only: tuple[str, ...] = ()) -> str:
    """What goes wrong first in the histories of *seeds*, other than that one gets stuck; empty when nothing does."""
    for seed in seeds:
        try:
            history(seed, only=only)
        except AssertionError as error:
            if "not settled" not in str(error):
                return str(error)
    return ""
