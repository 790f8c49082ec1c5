"""Scenes in which nothing is lost and nothing lies, and a group could stand still all the same."""

from __future__ import annotations

import pytest

from dhtex.replication import ReplicaConfig
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
