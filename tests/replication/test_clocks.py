"""Wall clocks that jump: what a bad one may not do to the others, and the way back once it is right again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtex.replication.effects import Persist
from dhtex.replication.messages import Accept, Prepare
from replication.cluster import SECOND, Cluster, Node

HOUR = 3_600 * SECOND


def group(size: int, seed: int) -> Cluster:
    """A group in which every member has submitted, and everything is final."""
    cluster = Cluster(seed, size)
    cluster.form()
    for node in cluster.nodes:
        cluster.submit(node)
    assert cluster.run(2 * SECOND, lambda: cluster.settled(cluster.nodes))
    return cluster


def trade(cluster: Cluster, duration: int) -> None:
    """Everybody submits, ten times a second."""
    for _ in range(duration * 10 // SECOND):
        cluster.run(SECOND // 10)
        for node in cluster.nodes:
            cluster.submit(node)


def is_ahead(node: Node) -> bool:
    """True when the time of the group, as *node* knows it, is not that of *node*'s wall clock."""
    core = node.replica._core
    assert core.view is not None
    return max(core.clock.last, core.view.floor) > node.now().wall + SECOND


@pytest.mark.parametrize("lasts", [300_000, SECOND, 3 * SECOND, 8 * SECOND])
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_a_clock_that_jumps_drags_nobody_along_and_its_member_comes_back(
    size: int, lasts: int, seed: int
) -> None:
    cluster = group(size, seed)
    bad, *others = cluster.nodes
    bad.skew = HOUR
    trade(cluster, lasts)
    assert not any(map(is_ahead, others))
    bad.skew = 0
    trade(cluster, SECOND)
    assert cluster.run(20 * SECOND, lambda: cluster.settled(cluster.nodes)), "\n".join(cluster.roles())
    cluster.check_all()
    assert not any(map(is_ahead, cluster.nodes))


@pytest.mark.parametrize("seed", range(4))
def test_a_member_whose_clock_jumped_comes_back_after_a_restart(seed: int) -> None:
    cluster = group(3, seed)
    bad, *others = cluster.nodes
    bad.skew = HOUR
    trade(cluster, SECOND)
    bad.crash()
    assert cluster.run(5 * SECOND, lambda: cluster.agreed_members(others))
    bad.skew = 0
    cluster.restart(bad)
    trade(cluster, SECOND)
    assert cluster.run(20 * SECOND, lambda: cluster.settled(cluster.nodes)), "\n".join(cluster.roles())
    cluster.check_all()
    assert not any(map(is_ahead, cluster.nodes))
    bad.crash()
    cluster.restart(bad)
    assert not is_ahead(bad), "its journal still has the ceiling of an earlier view"


@pytest.mark.parametrize("lasts", [300_000, SECOND, 3 * SECOND, 8 * SECOND])
@pytest.mark.parametrize("seed", range(4))
def test_who_cannot_do_without_a_member_goes_on_with_its_time(lasts: int, seed: int) -> None:
    """There is nobody to put it out, and to wait for an hour would be worse."""
    cluster = group(2, seed)
    bad, _ = cluster.nodes
    bad.skew = HOUR
    trade(cluster, lasts)
    bad.skew = 0
    trade(cluster, SECOND)
    assert cluster.run(20 * SECOND, lambda: cluster.settled(cluster.nodes)), "\n".join(cluster.roles())
    cluster.check_all()


@pytest.mark.parametrize("seed", range(4))
def test_a_view_that_only_a_bad_clock_accepted_is_not_proposed_again(seed: int) -> None:
    cluster = group(3, seed)
    cluster.add(1)
    *members, newcomer = cluster.nodes
    bad = min(members, key=lambda node: node.node_id)
    said = cluster.listen(bad)
    newcomer.do(lambda replica, now: replica.join([members[0].contact], now))
    assert cluster.run(5 * SECOND, lambda: any(isinstance(message, Prepare) for message in said))
    bad.skew = HOUR
    assert cluster.run(SECOND, lambda: any(isinstance(message, Accept) for message in said))
    bad.skew = 0
    assert cluster.run(20 * SECOND, lambda: cluster.settled(cluster.nodes)), "\n".join(cluster.roles())
    assert not any(map(is_ahead, cluster.nodes))


def test_a_ceiling_that_is_durable_after_its_view_covers_nothing_in_the_next() -> None:
    node = group(1, 0).nodes[0]
    core = node.replica._core
    view = core.view
    assert view is not None
    core.cover(core.clock.last + HOUR)
    ticket = next(effect.ticket for effect in node.replica.take_effects() if isinstance(effect, Persist))
    core.set_view(replace(view, number=view.number + 1, parent=view.id))
    core.restart_clock(view.floor)
    node.do(lambda replica, now: replica.persisted(ticket, now))
    assert core.ceiling < core.now.wall + SECOND
