"""Scenes with one member that lies: what the others agree on stays one history, and they go on without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgpack
import pytest

from dhtex.replication import Now, Replica
from dhtex.replication.effects import (
    Destination,
    Effect,
    Equivocation,
    PromiseBroken,
    Restored,
    Role,
    Suspected,
)
from dhtex.replication.messages import Entries, Message, Promise, Status, decode, encode
from dhtex.replication.values import CHAIN_SIZE, INT_MAX, Entry
from replication.cluster import MS, SECOND, Cluster, Node
from replication.hunt import FAST
from replication.test_replica import settle, told

Change = Callable[[Destination, Message], Message]


def group(size: int) -> tuple[Cluster, Node, list[Node]]:
    """A group, its liar and the others. Nothing is demanded of the liar; proof against it is no slander."""
    cluster = Cluster(7, size, FAST)
    cluster.form()
    liar, *others = cluster.nodes
    judge = cluster.judge

    def judge_others(node: Node, effect: Effect) -> None:
        proof = isinstance(effect, Equivocation | PromiseBroken) and effect.origin == liar.node_id
        if node is not liar and not proof:
            judge(node, effect)

    cluster.judge = judge_others  # type: ignore[method-assign]  # a judge who knows who lies
    return cluster, liar, others


def signed(liar: Node, timestamp: int, seq: int = 1, command: int = 1) -> Entry:
    core = liar.replica._core
    assert core.view is not None
    return Entry.sign(
        liar.signer,
        core.context,
        view=core.view.number,
        seq=seq,
        timestamp=timestamp,
        first_n=seq,
        count=1,
        commands=msgpack.packb([command]),
    )


def say(liar: Node, message: Message, to: Sequence[Node]) -> None:
    def receive(replica: Replica, now: Now) -> None:
        replica.receive(liar.signer.public_key, liar.address, [message], now)

    for node in to:
        node.do(receive)


def twist(cluster: Cluster, liar: Node, change: Change) -> None:
    """What the liar's replica sends is changed on its way out."""
    transmit = cluster.transmit

    def transmit_changed(sender: Node, to: Destination, frame: bytes) -> None:
        if sender is liar:
            frame = msgpack.packb(encode(change(to, decode(*msgpack.unpackb(frame)))))
        transmit(sender, to, frame)

    cluster.transmit = transmit_changed  # type: ignore[method-assign]  # see above


def submit_everywhere(cluster: Cluster, nodes: list[Node], rounds: int = 5) -> None:
    for _ in range(rounds):
        for node in nodes:
            cluster.submit(node, 2)
        cluster.run(3 * MS)


@pytest.mark.parametrize("size", [3, 4, 5])
@pytest.mark.parametrize("apart", [0, 1, 10 * MS, -3 * MS])
def test_two_entries_for_one_place_divided_among_the_others(size: int, apart: int) -> None:
    cluster, liar, others = group(size)
    submit_everywhere(cluster, others)
    half = len(others) // 2
    at = liar.now().wall + 5 * MS
    one, other = signed(liar, at, command=1), signed(liar, at + apart, command=2)
    lineage = liar.replica.lineage
    submit_everywhere(cluster, others, 1)
    say(liar, Entries(lineage, (one,)), others[:half])
    say(liar, Entries(lineage, (other,)), others[half:])
    submit_everywhere(cluster, others)
    assert cluster.run(5 * SECOND, lambda: cluster.agreed_members(others)), "\n".join(cluster.roles())
    submit_everywhere(cluster, others)
    settle(cluster, others)
    for node in others:
        (proof,) = told(node, Equivocation)
        assert {proof.first, proof.second} == {one, other}
        assert any("signed two different entries" in found.reason for found in told(node, Suspected))


def test_a_log_with_two_branches_is_cut_where_they_part() -> None:
    """Long branches, and a member whose first difference lies far behind what it reports."""
    cluster, liar, others = group(4)
    submit_everywhere(cluster, others)
    now = liar.now().wall
    common = [signed(liar, now + seq, seq) for seq in range(1, 6)]
    branches = [[signed(liar, now + seq, seq, command=b) for seq in range(6, 200)] for b in (2, 3)]
    lineage = liar.replica.lineage
    for entry in common:
        say(liar, Entries(lineage, (entry,)), others)
    for first, second in zip(*branches, strict=True):
        say(liar, Entries(lineage, (first,)), others[:1])
        say(liar, Entries(lineage, (second,)), others[1:])
    submit_everywhere(cluster, others)
    assert cluster.run(5 * SECOND, lambda: cluster.agreed_members(others)), "\n".join(cluster.roles())
    settle(cluster, others)
    closing = others[0].replica._core.views[others[0].replica._core.view.number]  # type: ignore[union-attr]
    before = others[0].replica._core.views[closing.number - 1]
    assert closing.cut[before.index[liar.node_id]] == len(common)


def test_who_missed_the_decision_gives_up_the_entry_that_does_not_count() -> None:
    cluster, liar, others = group(5)
    absent, *rest = others
    submit_everywhere(cluster, others)
    settle(cluster)
    cluster.partition([absent], rest)
    liar.crash()
    now = liar.now().wall
    one, other = signed(liar, now, command=1), signed(liar, now + 5, command=2)
    say(liar, Entries(liar.replica.lineage, (one,)), [absent])
    say(liar, Entries(liar.replica.lineage, (other,)), rest)
    submit_everywhere(cluster, rest)
    assert cluster.run(5 * SECOND, lambda: cluster.agreed_members(rest)), "\n".join(cluster.roles())
    assert (liar.node_id, 1) in rest[0].machine.applied, "nobody who was asked knew of another"
    cluster.heal()
    settle(cluster, others)
    assert told(absent, Equivocation)
    absent.crash()
    cluster.restart(absent)
    assert told(absent, Restored)
    settle(cluster, others)


def test_an_entry_for_a_time_that_was_promised_to_be_over_does_not_count() -> None:
    cluster, liar, others = group(4)
    deceived, *rest = others
    settle(cluster)
    liar.crash()
    view = liar.replica.view
    assert view is not None
    late = signed(liar, deceived.now().wall)
    cluster.run(MS)
    cluster.submit(deceived)
    cluster.run(3 * MS)
    promise = deceived.replica._core.status()._replace(promise=deceived.now().wall + 100 * MS)
    say(liar, promise, [deceived])
    assert cluster.run(200 * MS, lambda: deceived.replica.position == 1)
    assert rest[0].replica.position == 0
    say(liar, Entries(liar.replica.lineage, (late,)), rest)
    assert cluster.run(5 * SECOND, lambda: cluster.agreed_members(others)), "\n".join(cluster.roles())
    assert told(deceived, PromiseBroken) == [PromiseBroken(liar.node_id, late)]
    assert any("promised to be over" in found.reason for found in told(deceived, Suspected))
    submit_everywhere(cluster, others)
    settle(cluster, others)


def test_false_reports_of_an_honest_log_are_no_proof_and_stop_nobody_for_long() -> None:
    cluster, liar, others = group(4)

    def change(to: Destination, message: Message) -> Message:
        if isinstance(message, Status | Promise):
            return message._replace(chains=bytes(reversed(message.chains)))
        return message

    twist(cluster, liar, change)
    submit_everywhere(cluster, others)
    assert cluster.run(10 * SECOND, lambda: cluster.agreed_members(others)), "\n".join(cluster.roles())
    twist(cluster, liar, lambda to, message: message)
    settle(cluster, others)
    assert not any(told(node, Equivocation) for node in others)


@pytest.mark.parametrize("seq", [5_000, INT_MAX])
def test_what_nobody_can_show_holds_up_no_change_of_membership(seq: int) -> None:
    cluster, liar, others = group(5)

    def change(to: Destination, message: Message) -> Message:
        return (
            message._replace(have=(seq,) * len(message.have), chains=b"?" * len(message.chains))
            if isinstance(message, Promise)
            else message
        )

    twist(cluster, liar, change)
    victim, *rest = others
    submit_everywhere(cluster, others)
    victim.crash()
    assert cluster.run(10 * SECOND, lambda: cluster.agreed_members([liar, *rest])), "\n".join(cluster.roles())
    submit_everywhere(cluster, rest)
    cluster.restart(victim)
    settle(cluster)


@pytest.mark.parametrize("size", [0, 1, CHAIN_SIZE, 5 * CHAIN_SIZE])
def test_reports_without_the_right_chains_count_for_nothing(size: int) -> None:
    cluster, liar, others = group(4)
    twist(
        cluster,
        liar,
        lambda to, m: m._replace(chains=bytes(size)) if isinstance(m, Status | Promise) else m,
    )
    cluster.submit(others[0])
    cluster.run(100 * MS)
    assert others[0].replica.position == 0
    assert cluster.run(10 * SECOND, lambda: cluster.agreed_members(others)), "\n".join(cluster.roles())
    assert others[0].replica.position == 1


def test_a_liar_is_not_let_in_again() -> None:
    cluster, liar, others = group(3)
    now = liar.now().wall
    entries = tuple(signed(liar, now, command=command) for command in (1, 2))
    say(liar, Entries(liar.replica.lineage, entries), others[:1])
    assert cluster.run(5 * SECOND, lambda: cluster.agreed_members(others))
    cluster.run(2 * SECOND)
    assert cluster.agreed_members(others)
    assert liar.replica.role is Role.EVICTED
    cluster.submit(others[0])
    settle(cluster, others)


def test_two_members_cannot_tell_who_lies_and_keep_their_view() -> None:
    cluster, liar, (other,) = group(2)
    view = other.replica.view
    now = liar.now().wall
    entries = tuple(signed(liar, now, command=command) for command in (1, 2))
    say(liar, Entries(liar.replica.lineage, entries), [other])
    cluster.run(2 * SECOND)
    assert told(other, Equivocation)
    assert other.replica.view == view
    assert other.replica.role is Role.MEMBER
