"""Writes record sequences that a replica could have written, at random but repeatably."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from dhtex.identity import Identity
from dhtex.replication.records import (
    Appended,
    Ceiling,
    Compacted,
    DurableState,
    FinalMark,
    Incarnation,
    Installed,
    Pending,
    Record,
    SnapshotTaken,
    Vote,
    Withdrawn,
    pending_in_order,
)
from dhtex.replication.values import (
    CHAIN_SIZE,
    NO_BALLOT,
    NO_LINEAGE,
    Ballot,
    Entry,
    Member,
    OrderKey,
    Snapshot,
    View,
    array_header,
    joined_arrays,
    make_view,
    signing_context,
)

GROUP: Final = b"G" * 20
IDENTITIES: Final = tuple(Identity(bytes([i]) * 32) for i in range(1, 5))
ME: Final = IDENTITIES[0]
START: Final = 1_700_000_000_000_000
NOTHING: Final = array_header(1) + b"\xc0"
"""A batch of one command, nil."""


def commands_of(count: int, size: int = 1) -> bytes:
    """A batch of *count* commands of *size* bytes each, up to 255."""
    return joined_arrays([array_header(1) + b"\xc4" + bytes((size,)) + bytes(size)] * count, count)


def entry_of(
    origin: Identity,
    *,
    view: int,
    seq: int,
    timestamp: int,
    first_n: int,
    count: int = 1,
    commands: bytes = b"",
    lineage: bytes = NO_LINEAGE,
    signed: bool = False,
) -> Entry:
    """An entry; its signature is real only when *signed*, because that is what costs time."""
    signer = origin if signed else _Unsigned(origin)
    return Entry.sign(
        signer,
        signing_context(GROUP, lineage),
        view=view,
        seq=seq,
        timestamp=timestamp,
        first_n=first_n,
        count=count,
        commands=commands or commands_of(count),
    )


class _Unsigned:
    """Signs with a hash."""

    def __init__(self, identity: Identity) -> None:
        self.public_key, self.node_id = identity.public_key, identity.node_id
        self.verify = identity.verify

    def sign(self, message: bytes) -> bytes:
        return hashlib.blake2b(message, digest_size=64).digest()


def members_of(identities: Sequence[Identity]) -> tuple[Member, ...]:
    """Members with made-up addresses."""
    return tuple(Member(identity.public_key, "127.0.0.1:1", 7) for identity in identities)


def founding_view(identities: Sequence[Identity] = IDENTITIES[:3]) -> View:
    """View 1."""
    return make_view(
        number=1, parent=b"p" * 20, members=members_of(identities), floor=START, cut=(), proposer=ME.node_id
    )


class Author:
    """Knows what may follow what, from the reduction of what was written so far.

    Attributes:
        state: the reduction of everything written.
    """

    def __init__(self, random_source: random.Random) -> None:
        self.random = random_source
        self.state = DurableState(ME.node_id)
        self._by_id: dict[bytes, Identity] = {identity.node_id: identity for identity in IDENTITIES}
        self._next_n: dict[bytes, int] = {identity.node_id: 1 for identity in IDENTITIES}
        self._last_seq: dict[bytes, int] = {}
        self._last_timestamp: dict[bytes, int] = {}
        self._snapshot_keys: list[OrderKey] = []
        self._final_n: dict[bytes, int] = {}

    def write(self, step: str) -> list[Record]:
        """The records of one step, which may be none when it makes no sense now."""
        step_of: dict[str, Callable[[], list[Record]]] = {
            "append": self._append,
            "again": self._again,
            "equivocate": self._equivocate,
            "ceiling": lambda: [Ceiling(self.random.randrange(2**40))],
            "incarnation": lambda: [Incarnation(self.random.randrange(1, 2**40), self.random.random() < 0.5)],
            "vote": self._vote,
            "pend": self._pend,
            "finalize": self._finalize,
            "install": self._install,
            "snapshot": self._snapshot,
            "jump": self._jump,
            "compact": self._compact,
            "withdraw": self._withdraw,
        }
        records = step_of[step]()
        for record in records:
            self.state.apply(record)
        return records

    WEIGHTS: Final = {
        "append": 7,
        "again": 1,
        "equivocate": 1,
        "ceiling": 1,
        "incarnation": 1,
        "vote": 1,
        "pend": 1,
        "finalize": 3,
        "install": 1,
        "snapshot": 1,
        "jump": 1,
        "compact": 1,
        "withdraw": 1,
    }
    STEPS: Final = tuple(step for step, weight in WEIGHTS.items() for _ in range(weight))

    # -- steps --------------------------------------------------------------------------------------------------

    def _append(self) -> list[Record]:
        view = self.state.view
        if view is None:
            return self._install()
        origin = self.random.choice(view.node_ids)
        seq = self._last_seq.get(origin, 0) + 1
        timestamp = max(self._last_timestamp.get(origin, 0), self._floor()) + self.random.randrange(1, 50)
        first_n, count, commands = self._commands(origin)
        entry = entry_of(
            self._by_id[origin],
            view=view.number,
            seq=seq,
            timestamp=timestamp,
            first_n=first_n,
            count=count,
            commands=commands,
        )
        self._last_seq[origin], self._last_timestamp[origin] = seq, timestamp
        return [Appended(entry)]

    def _commands(self, origin: bytes) -> tuple[int, int, bytes]:
        """Own pending commands go first, in order of n."""
        if origin == ME.node_id and self.state.pending:
            first, *rest = pending_in_order(self.state.pending.values())
            batches, count = [first.commands], first.count
            for pending in rest[: self.random.randrange(3)]:
                if pending.first_n == first.first_n + count:
                    batches.append(pending.commands)
                    count += pending.count
            return first.first_n, count, joined_arrays(batches, count)
        count = self.random.randrange(1, 4)
        return self._take_n(origin, count), count, commands_of(count, self.random.choice((1, 200)))

    def _take_n(self, origin: bytes, count: int) -> int:
        first_n = self._next_n[origin]
        self._next_n[origin] += count
        return first_n

    def _floor(self) -> int:
        view = self.state.view
        final = self.state.final.key
        floor = 0 if view is None else view.floor
        return max(floor, final.timestamp) if view is not None and final.view == view.number else floor

    def _again(self) -> list[Record]:
        log = self._some_log()
        return [Appended(self.random.choice(log))] if log else []

    def _equivocate(self) -> list[Record]:
        log = self._some_log()
        if not log:
            return []
        entry = self.random.choice(log)
        return [
            Appended(
                entry_of(
                    self._by_id[entry.origin],
                    view=entry.view,
                    seq=entry.seq,
                    timestamp=entry.timestamp + 1,
                    first_n=entry.first_n,
                )
            )
        ]

    def _some_log(self) -> list[Entry]:
        logs = [log for _, log in sorted(self.state.logs.items()) if log]
        return self.random.choice(logs) if logs else []

    def _vote(self) -> list[Record]:
        view = self.state.view
        if view is None:
            return []
        promised = Ballot(self.random.randrange(1, 9), self.random.choice(view.node_ids))
        value = self._next_view() if self.random.random() < 0.5 else None
        return [Vote(view.number, promised, promised if value else NO_BALLOT, value)]

    def _pend(self) -> list[Record]:
        count = self.random.randrange(1, 4)
        return [Pending(self._take_n(ME.node_id, count), count, commands_of(count))]

    def _finalize(self) -> list[Record]:
        entries = sorted(
            (entry for log in self.state.logs.values() for entry in log if entry.key > self.state.final.key),
            key=lambda entry: entry.key,
        )
        # An origin's entries become final in order, and none that sorts before a final one may appear: so the
        # newest timestamp final is at most the oldest of the origins' newest.
        if not entries:
            return []
        upto = self.random.randrange(1, len(entries) + 1)
        position = self.state.final.position
        for entry in entries[:upto]:
            position += entry.count
            self._final_n[entry.origin] = entry.first_n + entry.count - 1
        key = entries[upto - 1].key
        for origin in self._last_timestamp:
            self._last_timestamp[origin] = max(self._last_timestamp[origin], key.timestamp)
        stale = self.state.final
        return [FinalMark(key, position, _digest(position)), *([stale] if self.random.random() < 0.1 else [])]

    def _next_view(self) -> View:
        view = self.state.view
        if view is None:
            return founding_view()
        cut = []
        for origin in view.node_ids:
            log = self.state.logs.get(origin, [])
            final = [entry.seq for entry in log if entry.key <= self.state.final.key]
            lowest = final[-1] if final else self._last_seq.get(origin, 0) - len(log)
            cut.append(self.random.randint(lowest, max(lowest, self._last_seq.get(origin, 0))))
        members = [ME, *self.random.sample(IDENTITIES[1:], self.random.randrange(1, 4))]
        floor = max([view.floor, *self._last_timestamp.values()])
        return make_view(
            number=view.number + 1,
            parent=view.id,
            members=members_of(members),
            floor=floor,
            cut=tuple(cut),
            proposer=view.node_ids[0],
        )

    def _install(self) -> list[Record]:
        view = self._next_view()
        closed = self.state.view
        records: list[Record] = [Installed(view)]
        if closed is not None:
            cut = dict(zip(closed.node_ids, view.cut, strict=True))
            records = [*self._closing_mark(cut), Installed(view)]
            for origin, log in self.state.logs.items():
                for entry in log:
                    if entry.seq <= cut.get(origin, 0):
                        last = self._final_n.get(origin, 0)
                        self._final_n[origin] = max(last, entry.first_n + entry.count - 1)
                    elif origin != ME.node_id:
                        self._next_n[origin] = min(self._next_n[origin], entry.first_n)
        self._last_seq, self._last_timestamp = {}, {}
        return records

    def _closing_mark(self, cut: dict[bytes, int]) -> list[Record]:
        """All within the cut is final then; what is beyond may sort before the last of it."""
        final = self.state.final
        entries = [entry for log in self.state.logs.values() for entry in log if entry.key > final.key]
        within = [entry for entry in entries if entry.seq <= cut.get(entry.origin, 0)]
        if not within:
            return []
        position = final.position + sum(entry.count for entry in within)
        return [FinalMark(max(entry.key for entry in within), position, _digest(position))]

    def _snapshot(self) -> list[Record]:
        view, final = self.state.view, self.state.final
        if view is None:
            return []
        self._snapshot_keys.append(final.key)
        return [SnapshotTaken(self._snapshot_at(view, final.key, final.position))]

    def _snapshot_at(self, view: View, key: OrderKey, position: int) -> Snapshot:
        return Snapshot(
            lineage=self.state.lineage if self.state.view is not None else view.id,
            view=view,
            key=key,
            position=position,
            digest=_digest(position),
            seqs=tuple(self._last_seq.get(node_id, 0) for node_id in view.node_ids),
            last_n=tuple(sorted(self._final_n.items())),
            machine=self.random.randbytes(self.random.choice((0, 10, 5000))),
            chains=self._chains(view),
        )

    def _jump(self) -> list[Record]:
        """A snapshot fetched from others, beyond what is final here: in this view or in a later one."""
        view = self.state.view
        if view is None or self.random.random() < 0.5:
            number = 1 if view is None else view.number + self.random.randrange(1, 3)
            members = members_of(IDENTITIES[:3])
            view = make_view(
                number=number,
                parent=b"q" * 20,
                members=members,
                floor=START + 1_000_000 * number,
                cut=(0, 0, 0)[: 3 if number > 1 else 0],
                proposer=ME.node_id,
            )
            self._last_seq, self._last_timestamp = {}, {}
        timestamp = max([self._floor(), view.floor]) + self.random.randrange(1, 100)
        for origin in view.node_ids:
            self._last_timestamp[origin] = max(timestamp, self._last_timestamp.get(origin, 0))
            self._last_seq[origin] = self._last_seq.get(origin, 0) + 10
        if self._next_n[ME.node_id] > 1:
            self._final_n[ME.node_id] = self.random.randrange(
                self._final_n.get(ME.node_id, 0), self._next_n[ME.node_id]
            )
        key = OrderKey(view.number, timestamp, self.random.choice(view.node_ids))
        self._snapshot_keys = [key]
        return [SnapshotTaken(self._snapshot_at(view, key, self.state.final.position + 100))]

    def _compact(self) -> list[Record]:
        view = self.state.view
        if view is None or not self._snapshot_keys:
            return []
        return [Compacted(self.random.choice(self._snapshot_keys), self._chains(view))]

    def _chains(self, view: View) -> bytes:
        return self.random.randbytes(CHAIN_SIZE * len(view.members))

    def _withdraw(self) -> list[Record]:
        """Another's entry gives way to a second one that it signed for the same place, under the same key."""
        log = [e for e in self._some_log() if e.key > self.state.final.key and e.origin != ME.node_id]
        if not log:
            return []
        entry = self.random.choice(log)
        other = entry_of(
            self._by_id[entry.origin],
            view=entry.view,
            seq=entry.seq,
            timestamp=entry.timestamp,
            first_n=entry.first_n,
            count=entry.count,
            commands=commands_of(entry.count, 9),
        )
        self._last_seq[entry.origin] = entry.seq
        self._next_n[entry.origin] = entry.first_n + entry.count
        return [Withdrawn(entry.origin, entry.seq - 1), Appended(other)]


def _digest(position: int) -> bytes:
    return hashlib.blake2b(b"%d" % position, digest_size=32).digest()


def tickets(seed: int, count: int) -> Iterator[list[Record]]:
    """The records of tickets 1 … *count*. The clock's ceiling after ticket i is i: so a state tells how far it is."""
    source = random.Random(seed)
    author = Author(source)
    steps = [step for step in Author.STEPS if step != "ceiling"]
    for ticket in range(1, count + 1):
        records = [
            record for _ in range(source.randrange(1, 6)) for record in author.write(source.choice(steps))
        ]
        yield [*records, Ceiling(ticket)]
