"""Scenes on a small group: each names one promise of the protocol."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import msgpack
import pytest

from dhtex.errors import Busy, JournalFull, NotRunning, UsageError
from dhtex.replication import Now, Replica, ReplicaConfig
from dhtex.replication.effects import (
    Accepted,
    ClockRefused,
    Destination,
    Equivocation,
    Finalized,
    GroupConflict,
    QuorumBack,
    QuorumLost,
    Restored,
    Role,
    Suspected,
)
from dhtex.replication.founding import Candidate, Decision, decide
from dhtex.replication.messages import Entries, Join, Message, Prepare, Reject, Status, Views
from dhtex.replication.values import INT_MAX, NO_CHAIN, NO_DIGEST, Ballot, Entry, Member, make_view
from replication.cluster import MS, SECOND, Cluster, Network, Node
from replication.hunt import FAST

E = TypeVar("E")


def group(size: int, config: ReplicaConfig = FAST, extra: int = 0, network: Network | None = None) -> Cluster:
    cluster = Cluster(7, size + extra, config, network)
    cluster.form(size)
    return cluster


def settle(cluster: Cluster, nodes: list[Node] | None = None) -> None:
    nodes = nodes or cluster.nodes
    assert cluster.run(30 * SECOND, lambda: cluster.settled(nodes)), "\n".join(cluster.roles())
    cluster.check_all(nodes)


def told(node: Node, kind: type[E]) -> list[E]:
    return [effect for effect in node.seen if isinstance(effect, kind)]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_quiet_group_needs_two_delays_and_one_write(size: int) -> None:
    cluster = group(size, network=Network(delay=10 * MS, jitter=0))
    cluster.run(SECOND)
    began = cluster.time
    cluster.disk_delay = lambda: 2 * MS  # type: ignore[method-assign]  # an exact figure for this scene
    cluster.submit(cluster.nodes[0])
    assert cluster.run(SECOND, lambda: cluster.nodes[0].replica.position == 1)
    delays, writes = (0, 1) if size == 1 else (2, 2)  # the origin's own write, then one at the others
    assert cluster.time - began <= delays * 10 * MS + writes * 2 * MS
    assert cluster.run(12 * MS, lambda: all(node.replica.position == 1 for node in cluster.nodes))


def test_commands_gather_while_an_entry_is_made_durable() -> None:
    cluster = group(3)
    for _ in range(100):
        cluster.submit(cluster.nodes[0])
    settle(cluster)
    assert len(told(cluster.nodes[0], Finalized)) == 2


def test_commands_submitted_together_need_one_entry_and_one_word() -> None:
    cluster = group(3)
    node = cluster.nodes[0]

    def one_by_one(replica: Replica, now: Now) -> None:
        for number in range(1, 101):
            assert replica.submit(msgpack.packb([number]), 1, now) == number

    node.do(one_by_one)
    settle(cluster)
    assert told(node, Accepted) == [Accepted(1, 100)]
    assert [(final.entry.count, final.entry.commands) for final in told(node, Finalized)] == [
        (100, msgpack.packb(list(range(1, 101))))
    ]


def test_commands_gather_into_entries_of_the_size_allowed() -> None:
    cluster = group(1, replace(FAST, entry_commands_max=10, entry_bytes_max=100))
    node = cluster.nodes[0]

    def runs(replica: Replica, now: Now) -> None:
        for count, size in ((6, 1), (4, 1), (3, 1), (1, 60), (1, 60), (9, 1)):
            replica.submit(
                msgpack.packb([b"x" * (size - 2)] * count if size > 1 else [1] * count), count, now
            )

    node.do(runs)
    settle(cluster)
    assert [final.entry.count for final in told(node, Finalized)] == [10, 4, 10]


def test_load_makes_batches() -> None:
    cluster = group(3, replace(FAST, pipeline_max=2), network=Network(delay=20 * MS, jitter=0))
    cluster.disk_slow = 8
    for _ in range(200):
        cluster.submit(cluster.nodes[0])
        cluster.run(500)
    settle(cluster)
    assert len(told(cluster.nodes[0], Finalized)) < 20


def test_a_killed_member_is_evicted_and_comes_back_as_itself() -> None:
    cluster = group(3)
    victim, *rest = cluster.nodes
    for node in cluster.nodes:
        cluster.submit(node, 5)
    victim.crash()
    assert cluster.run(3 * SECOND, lambda: cluster.agreed_members(rest))
    for node in rest:
        cluster.submit(node, 5)
    cluster.restart(victim)
    settle(cluster)
    assert any(
        "said nothing usable" in suspicion.reason for node in rest for suspicion in told(node, Suspected)
    )


def test_a_short_absence_is_no_eviction() -> None:
    cluster = group(3)
    victim = cluster.nodes[0]
    number = victim.replica.view and victim.replica.view.number
    cluster.submit(victim, 3)
    victim.crash()
    cluster.run(50 * MS)
    cluster.restart(victim)
    settle(cluster)
    assert victim.replica.view is not None
    assert victim.replica.view.number == number


def test_the_whole_group_restarts() -> None:
    cluster = group(3)
    for node in cluster.nodes:
        cluster.submit(node, 200)
    settle(cluster)
    for node in cluster.nodes:
        cluster.submit(node, 5)
        cluster.run(2 * MS)
    for node in cluster.nodes:
        node.crash()
    for node in cluster.nodes:
        node.start()
        assert told(node, Restored)
    settle(cluster)


def test_a_minority_finalizes_nothing_and_says_why() -> None:
    cluster = group(5)
    few, many = cluster.nodes[:2], cluster.nodes[2:]
    cluster.partition(few, many)
    cluster.run(SECOND)
    position = few[0].replica.position
    for node in cluster.nodes:
        cluster.submit(node, 2)
    assert cluster.run(3 * SECOND, lambda: cluster.agreed_members(many) and many[0].replica.position >= 6)
    assert [node.replica.position for node in few] == [position] * 2
    assert few[0].replica.pending_count == 2
    assert any("no quorum: 2 of 5" in lost.reason for lost in told(few[0], QuorumLost))
    cluster.heal()
    settle(cluster)
    assert told(few[0], QuorumBack)


def test_a_frozen_member_stays_frozen_over_a_restart() -> None:
    cluster = group(3)
    a, b, c = cluster.nodes
    c.crash()
    assert cluster.run(3 * SECOND, lambda: a.replica.role is Role.FROZEN)
    a.crash()
    a.start()
    if a.disk.vote is not None:
        assert a.replica.role is Role.FROZEN
    cluster.restart(c)
    settle(cluster)
    assert b.running


def test_leaving_takes_the_pending_along() -> None:
    cluster = group(3)
    leaver, *rest = cluster.nodes
    cluster.submit(leaver, 7)
    leaver.do(lambda replica, now: replica.leave(now))
    assert cluster.run(5 * SECOND, lambda: leaver.replica.role is Role.LEFT and cluster.agreed_members(rest))
    assert leaver.replica.pending_count == 0
    with pytest.raises(NotRunning, match="left"):
        leaver.do(lambda replica, now: replica.submit(b"\x91\x01", 1, now))
    contacts = [node.contact for node in rest]
    leaver.do(lambda replica, now: replica.join(contacts, now))
    settle(cluster)


def test_a_leaver_asked_twice_still_waits_until_the_others_know() -> None:
    cluster = group(2)
    leaver, other = cluster.nodes
    leaver.do(lambda replica, now: replica.leave(now))

    def is_out() -> bool:
        view = leaver.replica.view
        return view is not None and leaver.node_id not in view.index

    assert cluster.run(5 * SECOND, is_out)
    cluster.partition([leaver], [other])  # if the leaver decided it, the other does not know yet
    leaver.do(lambda replica, now: replica.leave(now))
    assert leaver.replica.role is not Role.LEFT
    cluster.heal()
    assert cluster.run(5 * SECOND, lambda: leaver.replica.role is Role.LEFT)
    assert cluster.agreed_members([other])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_everyone_leaves_and_comes_back(size: int) -> None:
    cluster = group(size)
    for node in cluster.nodes:
        cluster.submit(node, 2)
        node.do(lambda replica, now: replica.leave(now))
    assert cluster.run(10 * SECOND, lambda: all(n.replica.role is Role.LEFT for n in cluster.nodes))
    for node in cluster.nodes:
        contacts = [other.contact for other in cluster.nodes if other is not node]
        node.do(_join(contacts))
    settle(cluster)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_everyone_leaves_at_once_and_nobody_waits_for_who_is_gone(size: int) -> None:
    cluster = group(size)
    for node in cluster.nodes:
        node.do(lambda replica, now: replica.leave(now))
    left = []

    def all_are_gone() -> bool:
        for node in cluster.nodes:
            if node not in left and node.replica.role is Role.LEFT:
                left.append(node)
                node.crash()  # its process has ended
        return len(left) == size

    assert cluster.run(cluster.config.stalled_after // 2, all_are_gone), "\n".join(cluster.roles())


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_who_leaves_leaves_nobody_alone_with_a_member_that_is_gone(order: tuple[int, int, int]) -> None:
    cluster = group(3)
    gone, leaver, heir = (cluster.nodes[place] for place in order)
    cluster.run(SECOND)  # everything so far is durable
    gone.crash()
    leaver.do(lambda replica, now: replica.leave(now))  # nobody suspects the other yet
    assert cluster.run(
        3 * SECOND, lambda: leaver.replica.role is Role.LEFT and cluster.agreed_members([heir])
    )
    leaver.crash()  # its process has ended
    cluster.submit(heir, 3)
    assert cluster.run(SECOND, lambda: heir.replica.pending_count == 0)
    gone.start()
    assert cluster.run(5 * SECOND, lambda: cluster.agreed_members([heir, gone]))


def test_a_request_to_join_from_before_a_membership_brings_nobody_back() -> None:
    cluster = group(3)
    leaver, *others = cluster.nodes
    view = leaver.replica.view
    assert view is not None
    asked_then = Join(
        leaver.replica.lineage,
        view.number - 1,
        view.members[view.index[leaver.node_id]],
        leaver.now().wall,
        leaver.replica.position,
    )
    leaver.do(lambda replica, now: replica.leave(now))
    assert cluster.run(5 * SECOND, lambda: leaver.replica.role is Role.LEFT)
    assert cluster.run(SECOND, lambda: cluster.agreed_members(others))
    after = others[0].replica.view
    for node in others:  # it was on its way for long
        node.do(partial(_receive, leaver, asked_then))
    cluster.run(2 * SECOND)
    assert [node.replica.view for node in others] == [after, after]


def test_the_last_of_a_view_that_all_others_left_finds_the_group_through_who_it_has_met() -> None:
    cluster = group(4, extra=1)
    away, heir, *rest = cluster.nodes[:4]
    stranger = cluster.nodes[4]

    def leave(node: Node, left: list[Node]) -> None:
        node.do(lambda replica, now: replica.leave(now))
        assert cluster.run(20 * SECOND, lambda: node.replica.role is Role.LEFT), "\n".join(cluster.roles())
        assert cluster.run(5 * SECOND, lambda: cluster.agreed_members(left)), "\n".join(cluster.roles())

    leave(heir, [away, *rest])
    away.crash()
    assert cluster.run(10 * SECOND, lambda: cluster.agreed_members(rest))
    heir.do(_join([rest[0].contact]))
    assert cluster.run(10 * SECOND, lambda: cluster.agreed_members([heir, *rest]))
    for node, left in zip(rest, ([heir, rest[1]], [heir]), strict=True):
        leave(node, left)
        node.crash()  # its process has ended
    away.start()
    view = away.replica.view
    assert view is not None
    assert heir.node_id not in view.index
    assert cluster.run(10 * SECOND, lambda: not away.replica.has_quorum)
    coup = make_view(
        number=view.number + 1,
        parent=view.id,
        members=(Member(stranger.signer.public_key, stranger.address, 1),),
        floor=view.floor,
        cut=(0,) * len(view.members),
        proposer=stranger.node_id,
    )
    away.do(_join([stranger.contact]))
    away.do(partial(_receive, stranger, Views(away.replica.lineage, (coup,))))
    cluster.run(2 * SECOND)
    assert away.replica.view == view, "who was never a member is not believed"
    away.do(_join([stranger.contact, heir.contact]))
    cluster.submit(heir)
    settle(cluster, [away, heir])


def test_an_observer_follows_without_being_counted() -> None:
    cluster = group(3, extra=1)
    observer = cluster.nodes[3]
    contacts = [cluster.nodes[0].contact]
    observer.do(lambda replica, now: replica.observe(contacts, now))
    for _ in range(50):
        cluster.submit(cluster.random.choice(cluster.nodes[:3]), 3)
        cluster.run(5 * MS)
    assert cluster.run(
        5 * SECOND, lambda: observer.replica.position == cluster.nodes[0].replica.position == 150
    )
    assert observer.replica.role is Role.OBSERVING
    assert observer.machine.applied == cluster.nodes[0].machine.applied
    assert cluster.agreed_members(cluster.nodes[:3])
    with pytest.raises(Busy, match="not a member"):
        observer.replica.submit(b"\x91\x01", 1, observer.now())


def test_a_newcomer_catches_up_from_a_snapshot_by_pieces() -> None:
    cluster = group(3, extra=1, network=Network(loss=0.1))
    newcomer = cluster.nodes[3]
    for _ in range(120):
        cluster.submit(cluster.nodes[0], 10)
        cluster.run(5 * MS)
    settle(cluster, cluster.nodes[:3])
    contacts = [node.contact for node in cluster.nodes[:3]]
    for _ in range(50):  # contacts are looked up again and again; that must not start the download anew
        newcomer.do(lambda replica, now: replica.join(contacts, now))
        cluster.run(20 * MS)
    settle(cluster)
    jumps = [restored for restored in told(newcomer, Restored) if restored.position > 0]
    assert jumps
    cluster.submit(newcomer, 3)
    settle(cluster)


def test_history_beyond_memory_is_read_from_the_journal() -> None:
    config = replace(FAST, history_bytes_max=2_000, snapshot_every=10_000)
    cluster = group(3, config, extra=1)
    for _ in range(100):
        cluster.submit(cluster.nodes[0], 10)
        cluster.run(5 * MS)
    settle(cluster, cluster.nodes[:3])
    contacts = [node.contact for node in cluster.nodes[:3]]
    cluster.nodes[3].do(lambda replica, now: replica.join(contacts, now))
    settle(cluster)
    assert len(told(cluster.nodes[3], Finalized)) >= 100


def test_a_member_that_lost_its_disk_does_not_go_on_as_its_former_self() -> None:
    cluster = group(3)
    victim, *rest = cluster.nodes
    cluster.submit(victim, 5)
    settle(cluster)
    victim.crash()
    victim.synced.clear()
    cluster.restart(victim)
    assert victim.replica.role is Role.JOINING
    assert cluster.submit(victim) is None
    settle(cluster)
    assert cluster.submit(victim) == 6
    settle(cluster)
    assert rest[0].running


def test_a_full_disk_stops_one_member_and_loses_nothing() -> None:
    cluster = group(3)
    full, *rest = cluster.nodes
    cluster.submit(full, 4)
    full.do(lambda replica, now: replica.storage_full(now))
    with pytest.raises(JournalFull, match="disk is full"):
        full.replica.submit(b"\x91\x01", 1, full.now())
    assert cluster.run(5 * SECOND, lambda: cluster.agreed_members(rest))
    for node in rest:
        cluster.submit(node, 4)
    assert cluster.run(5 * SECOND, lambda: cluster.settled(rest))
    full.do(lambda replica, now: replica.storage_ok(now))
    settle(cluster)


def test_a_bad_clock_is_refused_with_a_word_on_both_sides() -> None:
    cluster = group(3)
    bad, *rest = cluster.nodes
    bad.skew = 3_600 * SECOND
    for node in cluster.nodes:
        cluster.submit(node)
    assert cluster.run(10 * SECOND, lambda: cluster.agreed_members(rest) and rest[0].replica.position >= 2)
    here = told(rest[0], ClockRefused)
    there = told(bad, ClockRefused)
    assert any(not refused.ours and refused.drift > 3_000 * SECOND for refused in here)
    assert any(refused.ours for refused in there)
    assert rest[0].replica.view is not None
    assert rest[0].replica.view.floor < rest[0].now().wall + SECOND
    bad.skew = 0
    settle(cluster)


def test_a_clock_set_back_breaks_no_promise() -> None:
    cluster = group(3)
    for _ in range(20):
        for node in cluster.nodes:
            cluster.submit(node)
            node.skew -= cluster.random.randrange(100 * MS)
        cluster.run(30 * MS)
    settle(cluster)


def test_equivocation_is_proved_and_the_liar_is_cut_off() -> None:
    cluster = group(4)
    cluster.judge = lambda node, effect: None  # type: ignore[method-assign]  # a liar may well split the digests
    liar, witness, *others = cluster.nodes
    core = liar.replica._core
    assert core.view is not None
    first, second = (
        Entry.sign(
            liar.signer,
            core.context,
            view=core.view.number,
            seq=1,
            timestamp=liar.now().wall + extra,
            first_n=1,
            count=1,
            commands=b"\x91\x01",
        )
        for extra in (1000, 2000)
    )
    for entry in (first, second, second):
        message = Entries(core.lineage, (entry,))
        witness.do(partial(_receive, liar, message))
    assert told(witness, Equivocation) == [Equivocation(liar.node_id, first, second)], "told once"
    assert cluster.run(5 * SECOND, lambda: cluster.agreed_members([witness, *others]))


def test_a_member_that_lies_about_ballots_and_views_stops_nobody() -> None:
    cluster = group(4)
    liar, *others = cluster.nodes
    view = liar.replica.view
    assert view is not None
    mine = Member(liar.signer.public_key, liar.address, 1)
    made_up = make_view(
        number=view.number + 2,
        parent=view.id,
        members=(mine,),
        floor=view.floor,
        cut=(0,) * 4,
        proposer=mine.node_id,
    )
    highest = Ballot(INT_MAX, liar.node_id)
    lineage = liar.replica.lineage
    lies: list[Message] = [
        Prepare(lineage, view.number, highest),
        Reject(lineage, view.number, highest),
        Views(lineage, (made_up,)),
    ]
    for node in others:
        for lie in lies:
            node.do(partial(_receive, liar, lie))
    cluster.run(SECOND)
    assert all(node.replica.role is Role.MEMBER and node.replica.view == view for node in others)
    liar.crash()
    assert cluster.run(10 * SECOND, lambda: cluster.agreed_members(others)), "the view can still be changed"
    cluster.submit(others[0])
    settle(cluster, others)


def test_strangers_change_nothing() -> None:
    cluster = group(3, extra=1)
    target, stranger = cluster.nodes[0], cluster.nodes[3]
    view = target.replica.view
    assert view is not None
    mine = Member(stranger.signer.public_key, stranger.address, 1)
    coup = make_view(
        number=view.number + 1,
        parent=view.id,
        members=(mine,),
        floor=view.floor,
        cut=(0, 0, 0),
        proposer=mine.node_id,
    )
    lineage = target.replica.lineage
    hostile: list[Message] = [
        Views(lineage, (coup,)),
        Status(lineage, view.number + 5, 0, 2**62, 2**62, (9, 9, 9), 10**9, NO_DIGEST, NO_CHAIN * 3),
        Entries(lineage, (Entry(view.number, target.node_id, 1, 5, 1, 1, bytes(120)),)),
    ]
    target.do(lambda replica, now: replica.receive(stranger.signer.public_key, "h:1", hostile, now))
    cluster.run(SECOND)
    assert target.replica.view == view
    assert target.replica.role is Role.MEMBER
    cluster.submit(target)
    settle(cluster, cluster.nodes[:3])


def test_two_groups_under_one_id_keep_apart_and_say_so() -> None:
    cluster = Cluster(3, 2, FAST)
    cluster.judge = lambda node, effect: None  # type: ignore[method-assign]  # these are two histories, rightly
    one, other = cluster.nodes
    for node in cluster.nodes:
        node.do(lambda replica, now: replica.found(now))
    cluster.run(100 * MS)
    other.do(lambda replica, now: replica.receive(one.signer.public_key, one.address, [_status(one)], now))
    cluster.submit(one)
    cluster.submit(other)
    cluster.run(SECOND)
    assert told(other, GroupConflict)[0].lineage == one.replica.lineage
    assert one.replica.position == other.replica.position == 1
    assert one.replica.lineage != other.replica.lineage
    with pytest.raises(UsageError, match="belongs to a group already"):
        one.replica.found(one.now())


def _join(contacts: list[Destination]) -> Callable[[Replica, Now], None]:
    return lambda replica, now: replica.join(contacts, now)


def _receive(sender: Node, message: Message, replica: Replica, now: Now) -> None:
    replica.receive(sender.signer.public_key, sender.address, [message], now)


def _status(node: Node) -> Status:
    return node.replica._core.status()


def test_submissions_are_bounded_and_checked() -> None:
    cluster = group(3, replace(FAST, pending_commands_max=10))
    node = cluster.nodes[0]
    cluster.partition([node], cluster.nodes[1:])

    def submit(commands: bytes, count: int) -> Callable[[Replica, Now], int]:
        return lambda replica, now: replica.submit(commands, count, now)

    for commands, count in ((b"\x91\x01", 2), (b"", 1), (b"\x01", 1)):
        with pytest.raises(UsageError, match="array"):
            node.do(submit(commands, count))
    for count in (0, FAST.entry_commands_max + 1):
        with pytest.raises(UsageError, match=f"this has {count}; split it"):
            node.do(submit(msgpack.packb([1] * count), count))
    long = b"1" * FAST.entry_bytes_max
    with pytest.raises(UsageError, match="bytes of commands, this has"):
        node.do(submit(msgpack.packb([long]), 1))
    node.do(submit(msgpack.packb(list(range(10))), 10))
    with pytest.raises(Busy, match="pending already"):
        node.do(submit(b"\x91\x01", 1))
    cluster.heal()
    settle(cluster)
    node.do(submit(b"\x91\x01", 1))
    settle(cluster)


def test_memory_stays_bounded_under_load() -> None:
    config = replace(FAST, history_bytes_max=20_000)
    cluster = group(3, config)
    for _ in range(300):
        cluster.submit(cluster.random.choice(cluster.nodes), 20)
        cluster.run(5 * MS)
    settle(cluster)
    cluster.run(SECOND)
    for node in cluster.nodes:
        core = node.replica._core
        assert core.view_log is not None
        assert sum(len(log.entries) for log in core.view_log.logs) == 0
        assert core.ledger.recent._bytes <= 20_000
        assert core.outbox.waiting <= 1


def test_an_idle_group_writes_nothing() -> None:
    cluster = group(3)
    cluster.run(2 * SECOND)
    written = [len(node.synced) for node in cluster.nodes]
    cluster.run(10 * SECOND)
    assert [len(node.synced) for node in cluster.nodes] == written


@pytest.mark.parametrize(
    ("seen", "decision"),
    [
        ([], Decision.FOUND),
        ([Candidate(b"b", 0)], Decision.FOUND),
        ([Candidate(b"c", 0), Candidate(b"b", 0)], Decision.FOUND),
        ([Candidate(b"a", 0), Candidate(b"c", 0)], Decision.WAIT),
        ([Candidate(b"a", 0), Candidate(b"c", 4)], Decision.JOIN),
    ],
)
def test_who_founds(seen: list[Candidate], decision: Decision) -> None:
    for order in itertools.permutations(seen):
        assert decide(b"b", order) is decision


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"suspect_after": 1}, "heartbeat_interval"),
        ({"gather_time": 10 * SECOND}, "ballot_timeout"),
        ({"history_bytes_max": 0}, "positive"),
        ({"entry_commands_max": 100_000}, "at most"),
        ({"entry_bytes_max": 10**6}, "at most"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(wrong: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        replace(ReplicaConfig(), **wrong)
