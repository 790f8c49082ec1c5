"""Scenes of peers that were away while the group went on."""

from __future__ import annotations

from dataclasses import replace

from dhtex.replication.effects import Role
from replication.cluster import MS, SECOND, Cluster
from replication.hunt import FAST


def test_who_jumps_into_the_middle_of_a_view_does_not_act_in_it_after_a_restart() -> None:
    """Its journal has forgotten its log and its vote of that view: it would use seqs again, and vote twice."""
    cluster = Cluster(7, 4, replace(FAST, snapshot_every=5, history_bytes_max=1))
    cluster.form(3)
    first, second, away, newcomer = cluster.nodes
    assert first.replica.view is not None
    number = first.replica.view.number
    cluster.network.cut = {
        (second.address, away.address)
    }  # it holds what is final, and does not know that it is
    for _ in range(12):
        cluster.submit(first)
        cluster.run(10 * MS)
    assert first.replica.position == 12
    assert away.replica.position < 5
    cluster.partition([first, second, newcomer], [away])
    cluster.submit(first)  # the cut of the view covers an entry that it lacks
    newcomer.do(lambda replica, now: replica.join([first.contact], now))
    assert cluster.run(30 * SECOND, lambda: cluster.agreed_members([first, second, newcomer]))
    cluster.heal()

    def jumped() -> bool:
        state = away.disk
        return state.compacted.view == number and state.snapshot is not None and not state.logs

    assert cluster.run(30 * SECOND, jumped)
    away.crash()
    away.start()
    assert away.replica.view is not None
    assert away.replica.view.number == number
    assert away.replica.role is not Role.MEMBER
    cluster.restart(away)
    assert cluster.run(30 * SECOND, lambda: cluster.settled(cluster.nodes)), "\n".join(cluster.roles())
    cluster.check_all()
