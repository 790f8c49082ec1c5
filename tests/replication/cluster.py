"""A small group in memory: real replicas, real codec, a lossy network, disks that forget what was not synced.

One seed decides everything. `Cluster` checks safety at every final entry and keeps its own history to compare with;
it shares no code with what it judges. The full simulator is `dhtex.simulation`; this is for the room's own tests.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgpack

from dhtex.errors import Busy, JournalFull, NotRunning
from dhtex.identity import NodeId, PublicKey, node_id_of, short_id
from dhtex.replication import CommandBatch, DurableState, Now, Replica, ReplicaConfig
from dhtex.replication.effects import (
    Accepted,
    Destination,
    DigestMismatch,
    Effect,
    Equivocation,
    Finalized,
    Persist,
    PromiseBroken,
    ReadArchive,
    Restored,
    RoleChanged,
    Send,
)
from dhtex.replication.messages import Message, decode, encode
from dhtex.replication.records import Record, record_from_bytes, record_to_bytes

MS = 1_000
SECOND = 1_000_000
EPOCH = 1_700_000_000 * SECOND
GROUP = b"G" * 20


class CheapSigner:
    """Signatures that cost nothing: a keyed hash anyone can check. Fine where nobody is out to forge."""

    def __init__(self, seed: int) -> None:
        self.public_key = PublicKey(hashlib.blake2b(b"%d" % seed, digest_size=32).digest())
        self.node_id: NodeId = node_id_of(self.public_key)

    def sign(self, message: bytes) -> bytes:
        return hashlib.blake2b(message, key=self.public_key, digest_size=64).digest()

    def verify(self, public_key: PublicKey, message: bytes, signature: bytes) -> bool:
        return hashlib.blake2b(message, key=public_key, digest_size=64).digest() == signature


class ListMachine:
    """Remembers every command it applied, in order."""

    def __init__(self) -> None:
        self.applied: list[tuple[bytes, int]] = []

    def apply(self, batch: CommandBatch, position: int, skip: int) -> bytes:
        commands = msgpack.unpackb(batch.commands)
        assert len(commands) == batch.count
        assert position == len(self.applied) + 1
        assert 0 <= skip < batch.count
        self.applied += [(batch.origin, batch.first_n + i) for i in range(skip, batch.count)]
        return b"%d" % len(self.applied)

    def snapshot(self) -> bytes:
        packed: bytes = msgpack.packb(self.applied)
        return packed

    def restore(self, snapshot: bytes) -> None:
        self.applied = [(origin, n) for origin, n in msgpack.unpackb(snapshot)]

    def digest(self) -> bytes:
        return hashlib.blake2b(self.snapshot(), digest_size=32).digest()


@dataclass
class Network:
    """Rates of what goes wrong, and who cannot reach whom. Times in microseconds."""

    delay: int = 500
    jitter: int = 500
    loss: float = 0.0
    duplicate: float = 0.0
    cut: set[tuple[str, str]] = field(default_factory=set)  # (from, to) addresses


class Node:
    """One peer: a disk that survives crashes, and a replica that does not."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster = cluster
        self.signer = CheapSigner(number)
        self.address = f"10.0.0.{number}:1000"
        self.synced: list[Record] = []
        self.unsynced: list[tuple[int, tuple[Record, ...]]] = []
        self.skew = 0
        self.running = False
        self.run = 0
        self.seen: list[Effect] = []
        self.timer = -1
        self.start()

    @property
    def node_id(self) -> bytes:
        return self.signer.node_id

    @property
    def contact(self) -> Destination:
        return Destination(self.signer.public_key, self.address)

    def now(self) -> Now:
        return Now(EPOCH + self.cluster.time + self.skew, self.cluster.time)

    def start(self) -> None:
        self.run += 1
        self.running = True
        self.machine = ListMachine()
        state = DurableState(self.node_id, self.synced)
        self.disk = DurableState(self.node_id, self.synced)
        self.timer = -1
        self.replica = Replica(
            GROUP,
            self.signer,
            self.machine,
            self.cluster.config,
            self.cluster.random,
            self.now(),
            address=self.address,
            recovered=state if self.synced else None,
        )
        self.flush()

    def crash(self) -> None:
        self.running = False
        self.unsynced.clear()

    def do(self, call: Callable[[Replica, Now], Any]) -> Any:
        result = call(self.replica, self.now())
        self.flush()
        return result

    def flush(self) -> None:
        cluster, run = self.cluster, self.run
        for effect in self.replica.take_effects():
            match effect:
                case Send(to, message):
                    frame = msgpack.packb(encode(message))
                    for destination in to:
                        cluster.transmit(self, destination, frame)
                case Persist(ticket, records):
                    stored = tuple(record_from_bytes(record_to_bytes(record)) for record in records)
                    assert stored == records
                    self.unsynced.append((ticket, stored))
                    cluster.after(cluster.disk_delay(), partial(self._sync, ticket, run))
                case ReadArchive():
                    cluster.after(MS, partial(self._read, effect, run))
                case _:
                    cluster.judge(self, effect)
                    self.seen.append(effect)
        deadline = self.replica.next_deadline
        if self.timer < 0 or deadline < self.timer:
            self.timer = deadline
            if deadline < cluster.end:
                cluster.at(deadline, lambda: self._tick(deadline, run))

    def _tick(self, deadline: int, run: int) -> None:
        if self.running and run == self.run and self.timer == deadline:
            self.timer = -1
            self.do(lambda replica, now: replica.tick(now))

    def _sync(self, ticket: int, run: int) -> None:
        if not self.running or run != self.run:
            return
        while self.unsynced and self.unsynced[0][0] <= ticket:
            _, records = self.unsynced.pop(0)
            for record in records:
                self.synced.append(record)
                self.disk.apply(record)
        self.do(lambda replica, now: replica.persisted(ticket, now))

    def _read(self, effect: ReadArchive, run: int) -> None:
        if self.running and run == self.run:
            items = self.disk.read_archive(effect.after, effect.limit_bytes)
            self.do(lambda replica, now: replica.archive(effect.request, items, now))

    def deliver(self, sender: Node, frame: bytes) -> None:
        if self.running:
            tag, params = msgpack.unpackb(frame)
            message = decode(tag, params)
            self.do(lambda r, now: r.receive(sender.signer.public_key, sender.address, [message], now))


class Cluster:
    """Nodes, a network, a clock, and a judge."""

    def __init__(
        self, seed: int, nodes: int, config: ReplicaConfig | None = None, network: Network | None = None
    ) -> None:
        self.random = random.Random(seed)
        self.config = config or ReplicaConfig()
        self.network = network or Network()
        self.time = 0
        self.end = 3_600 * SECOND
        self.disk_slow = 300
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.last_key: tuple[int, int, bytes] = (0, 0, b"")
        self.accepted: set[tuple[bytes, int]] = set()
        self.digests: dict[int, bytes] = {}  # position -> digest, as first seen anywhere
        self.nodes: list[Node] = []
        self.by_key: dict[bytes, Node] = {}
        self.add(nodes)

    def add(self, count: int) -> None:
        """More nodes, in no group yet."""
        for _ in range(count):
            node = Node(self, len(self.nodes) + 1)
            self.nodes.append(node)
            self.by_key[node.signer.public_key] = node

    # -- time -----------------------------------------------------------------------------------------------

    def at(self, time: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (max(time, self.time), self._count, action))

    def after(self, delay: int, action: Callable[[], None]) -> None:
        self.at(self.time + delay, action)

    def run(self, duration: int, until: Callable[[], bool] | None = None) -> bool:
        """Run for *duration* µs, or until a condition holds; gives whether it did."""
        end = self.time + duration
        while self._queue and self._queue[0][0] <= end:
            if until is not None and until():
                return True
            self.time, _, action = heapq.heappop(self._queue)
            action()
        self.time = max(self.time, end) if until is None or not until() else self.time
        return until is not None and until()

    def disk_delay(self) -> int:
        return self.random.randrange(self.disk_slow // 4, self.disk_slow)

    # -- network --------------------------------------------------------------------------------------------

    def transmit(self, sender: Node, to: Destination, frame: bytes) -> None:
        target, net, rnd = self.by_key[to.public_key], self.network, self.random
        copies = 2 if rnd.random() < net.duplicate else 1
        for _ in range(copies):
            if rnd.random() >= net.loss and (sender.address, target.address) not in net.cut:
                delay = net.delay + rnd.randrange(net.jitter + 1)
                if net.jitter and rnd.random() < 0.02:
                    delay += rnd.randrange(20 * net.jitter)
                self.after(delay, partial(target.deliver, sender, frame))

    def listen(self, speaker: Node) -> list[Message]:
        """What *speaker* sends from now on; it grows."""
        said: list[Message] = []
        transmit = self.transmit

        def watch(sender: Node, to: Destination, frame: bytes) -> None:
            if sender is speaker:
                said.append(decode(*msgpack.unpackb(frame)))
            transmit(sender, to, frame)

        self.transmit = watch  # type: ignore[method-assign]  # an ear on the line
        return said

    def partition(self, *sides: list[Node]) -> None:
        """Only nodes on one side reach each other."""
        where = {node.address: i for i, side in enumerate(sides) for node in side}
        addresses = [node.address for node in self.nodes]
        self.network.cut = {(a, b) for a in addresses for b in addresses if where.get(a) != where.get(b)}

    def heal(self) -> None:
        self.network.cut = set()

    # -- use ------------------------------------------------------------------------------------------------

    def form(self, count: int | None = None) -> None:
        """The first node founds, the others join."""
        first, *others = self.nodes[:count]
        first.do(lambda replica, now: replica.found(now))
        for node in others:
            node.do(lambda replica, now: replica.join([first.contact], now))
        formed = self.run(30 * SECOND, lambda: self.agreed_members(self.nodes[:count]) and not first.unsynced)
        assert formed, [(node.replica.role, node.replica.view) for node in self.nodes]

    def agreed_members(self, nodes: list[Node]) -> bool:
        """All of *nodes* are members of one view that has nobody else."""
        ids = tuple(sorted(node.node_id for node in nodes))
        views = {node.replica.view.id if node.replica.view else b"" for node in nodes}
        return len(views) == 1 and all(
            node.running
            and node.replica.role.value == "member"
            and node.replica.view is not None
            and node.replica.view.node_ids == ids
            for node in nodes
        )

    def submit(self, node: Node, count: int = 1) -> int | None:
        """*count* commands, or None when the node does not take any now."""
        if not node.running:
            return None
        try:
            commands = msgpack.packb([self.random.randrange(1000) for _ in range(count)])
            return int(node.do(lambda replica, now: replica.submit(commands, count, now)))
        except (Busy, JournalFull, NotRunning):
            return None

    def restart(self, node: Node) -> None:
        node.start()
        contacts = [other.contact for other in self.nodes if other is not node]
        node.do(lambda replica, now: replica.join(contacts, now))

    # -- judgement ------------------------------------------------------------------------------------------

    def judge(self, node: Node, effect: Effect) -> None:
        match effect:
            case Accepted(first_n, count):
                self.accepted |= {(node.node_id, first_n + i) for i in range(count)}
            case Restored(position, digest, _):
                assert self.digests.get(position, digest) == digest, f"{position}: restored another history"
            case Finalized(position, entry, skip, digest):
                key = (entry.view, entry.timestamp, entry.origin)
                known = self.digests.get(position + entry.count - skip - 1) if skip < entry.count else None
                if known is None and skip < entry.count:
                    assert key > self.last_key, f"{key} became final after {self.last_key}"
                    self.last_key = key
                    self.digests[position + entry.count - skip - 1] = digest
                elif known is not None:
                    assert known == digest, f"two histories at {position}: {key}"
            case DigestMismatch() | Equivocation() | PromiseBroken():
                raise AssertionError(f"{short_id(node.node_id)}: {effect}")
            case _:
                pass

    def check_all(self, nodes: list[Node] | None = None) -> None:
        """Every node applied the same commands, each once, and none that was accepted is missing."""
        nodes = [node for node in (nodes or self.nodes) if node.running]
        first = nodes[0].machine.applied
        for node in nodes:
            assert node.machine.applied == first, f"{short_id(node.node_id)} differs"
            assert node.replica.digest == nodes[0].replica.digest
        assert len(set(first)) == len(first), "a command took effect twice"
        by_origin: dict[bytes, int] = {}
        for origin, n in first:
            assert n > by_origin.get(origin, 0), "an origin's commands changed places"
            by_origin[origin] = n
        missing = self.accepted - set(first)
        assert not missing, f"{len(missing)} accepted commands are lost: {sorted(missing)[:3]}"

    def settled(self, nodes: list[Node]) -> bool:
        """Nothing is pending anywhere, and all are equally far."""
        return (
            self.agreed_members(nodes)
            and all(node.replica.pending_count == 0 for node in nodes)
            and len({node.replica.position for node in nodes}) == 1
        )

    def roles(self) -> Iterator[str]:
        for node in self.nodes:
            changes = [e.role.value for e in node.seen if isinstance(e, RoleChanged)]
            view = node.replica.view
            yield (
                f"{short_id(node.node_id)} {node.replica.role.value} view {view.number if view else 0} "
                f"of {len(view.members) if view else 0} position {node.replica.position} "
                f"pending {node.replica.pending_count} {changes[-4:]}"
            )
