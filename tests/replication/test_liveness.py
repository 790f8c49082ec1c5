"""Scenes in which nothing is lost and nothing lies, and a group could stand still all the same."""

from __future__ import annotations

from functools import partial

import pytest

from dhtex.replication import Now, Replica, ReplicaConfig
from dhtex.replication.effects import Destination
from replication.cluster import MS, SECOND, Cluster, Network


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


def _join_through(contacts: list[Destination], replica: Replica, now: Now) -> None:
    replica.join(contacts, now)
