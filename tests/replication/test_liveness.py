"""Scenes in which nothing is lost and nothing lies, and a group could stand still all the same."""

from __future__ import annotations

import itertools
from functools import partial

import pytest

from dhtex.replication import Now, Replica, ReplicaConfig
from dhtex.replication.effects import Destination, Role
from dhtex.replication.messages import Join
from replication.cluster import MS, SECOND, Cluster, Network, Node


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("delay", [200 * MS, 350 * MS])
def test_a_ballot_waits_for_answers_that_take_longer_than_its_timeout(size: int, delay: int) -> None:
    assert 4 * delay >= ReplicaConfig().ballot_timeout
    cluster = Cluster(1, size, network=Network(delay=delay, jitter=10 * MS))
    cluster.form()
    *alive, victim = cluster.nodes
    victim.crash()
    for node in alive:
        cluster.submit(node)
    assert cluster.run(30 * SECOND, lambda: cluster.settled(alive)), "\n".join(cluster.roles())


def test_a_ballot_waits_for_disks_that_take_longer_than_its_timeout() -> None:
    cluster = Cluster(1, 3)
    cluster.form()
    cluster.disk_slow = 4 * ReplicaConfig().ballot_timeout
    *alive, victim = cluster.nodes
    victim.crash()
    for node in alive:
        cluster.submit(node)
    assert cluster.run(60 * SECOND, lambda: cluster.settled(alive)), "\n".join(cluster.roles())


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_a_member_far_away_stays_when_another_leaves(order: tuple[int, int, int]) -> None:
    cluster = Cluster(1, 3)
    cluster.form()
    cluster.run(SECOND)
    far, leaver, heir = (cluster.nodes[place] for place in order)
    transmit, way = (
        cluster.transmit,
        ReplicaConfig().gather_time * 2 // 3,
    )  # there and back is more than that time

    def slow(sender: Node, to: Destination, frame: bytes) -> None:
        distance = way if far in {sender, cluster.by_key[to.public_key]} else 0
        cluster.after(distance, partial(transmit, sender, to, frame))

    cluster.transmit = slow  # type: ignore[method-assign]  # one is further away than the others
    leaver.do(lambda replica, now: replica.leave(now))
    views = [heir.replica.view]

    def is_over() -> bool:
        if heir.replica.view is not views[-1]:
            views.append(heir.replica.view)
        return len(views) > 1 and leaver.replica.role is Role.LEFT

    assert cluster.run(5 * SECOND, is_over), "\n".join(cluster.roles())
    assert all(view is not None and far.node_id in view.index for view in views)


@pytest.mark.parametrize("delay", [100 * MS, 200 * MS])
def test_newcomers_catch_up_where_an_answer_takes_longer_than_the_next_word_that_there_is_news(
    delay: int,
) -> None:
    cluster = Cluster(1, 7, network=Network(delay=delay, jitter=5 * MS))
    founder, *newcomers = cluster.nodes
    founder.do(lambda replica, now: replica.found(now))
    cluster.run(100 * MS)
    for node in newcomers:
        node.do(partial(_join_through, [other.contact for other in cluster.nodes if other is not node]))
    formed = cluster.run(15 * SECOND, lambda: cluster.agreed_members(cluster.nodes))
    assert formed, "\n".join(cluster.roles())


def _asks_to_join(cluster: Cluster, newcomer: Node) -> bool:
    """Run until *newcomer* has sent a request."""
    said = cluster.listen(newcomer)
    return cluster.run(5 * SECOND, lambda: any(isinstance(message, Join) for message in said))


@pytest.mark.parametrize("later", [0, 60 * MS, 140 * MS])
def test_a_newcomer_that_goes_while_it_is_let_in_leaves_nobody_waiting_for_it(later: int) -> None:
    """A group of one that takes in a second cannot go on without it, nor put it out again."""
    cluster = Cluster(1, 2, network=Network(delay=5 * MS, jitter=0))
    founder, newcomer = cluster.nodes
    founder.do(lambda replica, now: replica.found(now))
    cluster.run(100 * MS)
    newcomer.do(lambda replica, now: replica.join([founder.contact], now))
    assert _asks_to_join(cluster, newcomer)
    cluster.run(later)
    newcomer.do(lambda replica, now: replica.leave(now))
    newcomer.do(lambda replica, now: replica.join([founder.contact], now))  # by a look-up that was under way
    assert cluster.run(SECOND, lambda: newcomer.replica.role is Role.LEFT)
    newcomer.crash()
    cluster.run(3 * SECOND)
    cluster.submit(founder)
    assert cluster.run(SECOND, lambda: founder.replica.position == 1), "\n".join(cluster.roles())


def test_a_newcomer_whose_request_is_forgotten_goes() -> None:
    cluster = Cluster(1, 2)
    founder, newcomer = cluster.nodes
    founder.do(lambda replica, now: replica.found(now))
    cluster.run(100 * MS)
    newcomer.do(lambda replica, now: replica.join([founder.contact], now))
    assert _asks_to_join(cluster, newcomer)
    cluster.partition([founder], [newcomer])
    newcomer.do(lambda replica, now: replica.leave(now))
    assert newcomer.replica.role is Role.JOINING
    assert cluster.run(3 * SECOND, lambda: newcomer.replica.role is Role.LEFT)


def _join_through(contacts: list[Destination], replica: Replica, now: Now) -> None:
    replica.join(contacts, now)
