"""The nouns of the protocol: entries, views, members, ballots, snapshots, and their canonical bytes.

Everything here is immutable, and everything that is signed, hashed or stored has exactly one byte form.
Decoders raise `MalformedMessage` and nothing else, whatever the bytes (`design: replication, Words`).
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgpack

from dhtex.errors import MalformedMessage
from dhtex.identity import (
    NODE_ID_SIZE,
    PUBLIC_KEY_SIZE,
    SIGNATURE_SIZE,
    NodeId,
    PublicKey,
    Signer,
    node_id_of,
)

ID_SIZE: Final = 20
"""Size of a group id, a lineage and a view id, bytes."""
DIGEST_SIZE: Final = 32
INT_MAX: Final = 2**63 - 1
"""Largest integer in any field: what SQLite and signed 64-bit readers can hold."""
MEMBERS_MAX: Final = 32
"""Most members of one view. Every order costs every member a message, so real groups are far smaller."""
ADDRESS_BYTES_MAX: Final = 300
"""A DNS name has at most 253 characters; the rest is for a port."""
COUNT_MAX: Final = 65_535
"""Most commands in one entry: the width of its field."""
ENTRY_BYTES_MAX: Final = 64 * 1024
"""Largest entry any member may send; `ReplicaConfig.entry_bytes_max` is what this member makes."""
VIEW_AHEAD_MAX: Final = 64
"""Decided views known ahead of the installed one; further ones are learnt when these are installed."""
NO_LINEAGE: Final = bytes(ID_SIZE)
"""What a newcomer that knows no group yet puts where the lineage goes."""
NO_DIGEST: Final = bytes(DIGEST_SIZE)
"""The digest before the first final entry."""
CHAIN_SIZE: Final = 16
"""Size of a chain value, bytes: two entries of one place that a liar can make with the same one cost 2^64 tries."""
NO_CHAIN: Final = bytes(CHAIN_SIZE)
"""The chain of an origin before its first entry of a view."""

_ENTRY_HEADER: Final = struct.Struct(f">I{NODE_ID_SIZE}sQQQH")
_COMMANDS_AT: Final = SIGNATURE_SIZE + _ENTRY_HEADER.size
_ENTRY_DOMAIN: Final = b"dhtex entry 1\x00"


class Now(NamedTuple):
    """The moment of an input, as whoever drives a replica saw it.

    Attributes:
        wall: microseconds since the Unix epoch, for timestamps only; may step in either direction.
        monotonic: microseconds from any origin, for timers only; never runs backwards.
    """

    wall: int
    monotonic: int


class OrderKey(NamedTuple):
    """Where something stands in the total order; compares as the order does.

    Within a view: ascending timestamp, then node id. The record of view v itself has the key `(v, 0, b"")`,
        before
    all entries of v; so history is one sequence of views and entries, and a place in it is one key.
    """

    view: int
    timestamp: int
    origin: bytes


ORIGIN_OF_HISTORY: Final = OrderKey(0, 0, b"")
"""Before everything, view 1 included."""


class Ballot(NamedTuple):
    """A Paxos ballot; compares as ballots do. `(0, b"")` is below every real one."""

    round: int
    proposer: bytes


NO_BALLOT: Final = Ballot(0, b"")


class CommandBatch(NamedTuple):
    """What a state machine gets to apply: the commands of one final entry.

    Attributes:
        origin: node id of the peer that issued them, 20 bytes.
        first_n: the origin's number of the first command; the others follow without a gap.
        count: number of commands.
        timestamp: microseconds since the epoch, the same for all of them.
        commands: a msgpack array of *count* elements; opaque to replication.
    """

    origin: bytes
    first_n: int
    count: int  # type: ignore[assignment]  # the field hides tuple.count, which nobody needs here
    timestamp: int
    commands: bytes


class Entry(NamedTuple):
    """One signed entry of an origin's log; cheap to decode, kept as the bytes it came in.

    Attributes:
        view: number of the view it belongs to.
        origin: node id of the peer that issued it, 20 bytes.
        seq: 1, 2, 3… per origin within a view.
        timestamp: hybrid logical clock, microseconds since the Unix epoch.
        first_n: the origin's number of its first command, counted across views.
        count: number of commands, at least 1.
        raw: signature ‖ header ‖ commands. Verified, journaled and served again exactly as received.
    """

    view: int
    origin: bytes
    seq: int
    timestamp: int
    first_n: int
    count: int  # type: ignore[assignment]  # the field hides tuple.count, which nobody needs here
    raw: bytes

    @property
    def key(self) -> OrderKey:
        """Its place in the total order."""
        return OrderKey(self.view, self.timestamp, self.origin)

    @property
    def signature(self) -> bytes:
        """64 bytes, over `signing_context(…) ‖ body`."""
        return self.raw[:SIGNATURE_SIZE]

    @property
    def body(self) -> bytes:
        """What is signed and digested: header and commands, not the signature (a signer can make several)."""
        return self.raw[SIGNATURE_SIZE:]

    @property
    def commands(self) -> bytes:
        """A msgpack array of `count` commands."""
        return self.raw[_COMMANDS_AT:]

    @property
    def batch(self) -> CommandBatch:
        """What the state machine gets."""
        return CommandBatch(self.origin, self.first_n, self.count, self.timestamp, self.raw[_COMMANDS_AT:])

    def verify(self, signer: Signer, public_key: PublicKey, context: bytes) -> bool:
        """True when the signature is the origin's, for the group of *context*. Never raises."""
        return signer.verify(public_key, context + self.body, self.signature)

    @classmethod
    def sign(
        cls,
        signer: Signer,
        context: bytes,
        *,
        view: int,
        seq: int,
        timestamp: int,
        first_n: int,
        count: int,
        commands: bytes,
    ) -> Entry:
        """A new entry of *signer*; *context* is `signing_context` of the group."""
        body = _ENTRY_HEADER.pack(view, signer.node_id, seq, timestamp, first_n, count) + commands
        return cls(view, signer.node_id, seq, timestamp, first_n, count, signer.sign(context + body) + body)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Entry:
        """The entry in *raw*. The signature is not looked at: that is `verify`.

        Raises:
            MalformedMessage: too short, too long, or a field out of range.
        """
        if not _COMMANDS_AT <= len(raw) <= ENTRY_BYTES_MAX:
            raise MalformedMessage("range", f"an entry of {len(raw)} bytes")
        view, origin, seq, timestamp, first_n, count = _ENTRY_HEADER.unpack_from(raw, SIGNATURE_SIZE)
        if not (
            view
            and 0 < seq <= INT_MAX
            and 0 < timestamp <= INT_MAX
            and count
            and 0 < first_n <= INT_MAX - count
        ):
            raise MalformedMessage("range", "entry header")
        return cls(view, origin, seq, timestamp, first_n, count, raw)


def signing_context(group_id: bytes, lineage: bytes) -> bytes:
    """What is signed before every entry body.

    An entry of one group or founding can never count in another.
    """
    return _ENTRY_DOMAIN + group_id + lineage


class Member(NamedTuple):
    """A member of a view.

    Attributes:
        public_key: 32 bytes, Ed25519.
        address: "host:port" as the member advertised it; a hint, the transport may know a newer one.
        incarnation: drawn at random when a peer with an empty journal first asks to join (or founds). A peer
            acts as a member only under the incarnation in its own journal, so one that lost its disk can
            never continue, without its promises, where its former self stopped.
    """

    public_key: PublicKey
    address: str
    incarnation: int

    @property
    def node_id(self) -> NodeId:
        """BLAKE2b-160 of the public key."""
        return node_id_of_key(self.public_key)


@functools.lru_cache(maxsize=4096)
def node_id_of_key(public_key: PublicKey) -> NodeId:
    """`node_id_of`, remembered: it is asked for with every message."""
    return node_id_of(public_key)


@dataclass(frozen=True)
class View:
    """A numbered membership. View 1 is the founding view; a majority of the one before decided every later
    one.

    Attributes:
        number: 1, 2, 3…
        parent: id of the view before; for view 1, twenty random bytes, which make every founding unique.
        members: ascending by node id, 1 to `MEMBERS_MAX`.
        floor: every timestamp of this view is greater, microseconds.
        cut: for every member of the view before (in its order), the seq of its last entry that counts. Empty
            in view 1.
        proposer: node id of the founder, or of the member that composed this value.
        chains: `CHAIN_SIZE` bytes for every seq of the cut: which entries it counts, in case that their origin
            signed two of the same seq.
    """

    number: int
    parent: bytes
    members: tuple[Member, ...]
    floor: int
    cut: tuple[int, ...]
    proposer: bytes
    chains: bytes = b""

    @functools.cached_property
    def id(self) -> bytes:
        """20 bytes: BLAKE2b-160 of the canonical bytes. The id of view 1 is the group's lineage."""
        return hashlib.blake2b(self.to_bytes(), digest_size=ID_SIZE).digest()

    @functools.cached_property
    def node_ids(self) -> tuple[bytes, ...]:
        """Node ids of the members, ascending."""
        return tuple(member.node_id for member in self.members)

    @functools.cached_property
    def index(self) -> dict[bytes, int]:
        """Node id -> place in `members`, and in every list of one number per member."""
        return {node_id: place for place, node_id in enumerate(self.node_ids)}

    @property
    def majority(self) -> int:
        """⌊n/2⌋ + 1."""
        return len(self.members) // 2 + 1

    @property
    def key(self) -> OrderKey:
        """Its place in history: before all its entries."""
        return OrderKey(self.number, 0, b"")

    def has(self, node_id: bytes, incarnation: int) -> bool:
        """True when *node_id* is a member under exactly this incarnation."""
        place = self.index.get(node_id)
        return place is not None and self.members[place].incarnation == incarnation

    def follows(self, other: View) -> bool:
        """True when this is a possible successor of *other*: number, parent and shape of the cut fit."""
        return (
            self.number == other.number + 1
            and self.parent == other.id
            and len(self.cut) == len(other.members)
            and len(self.chains) == CHAIN_SIZE * len(self.cut)
            and self.floor >= other.floor
        )

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        members = [[m.public_key, m.address, m.incarnation] for m in self.members]
        packed: bytes = msgpack.packb(
            [self.number, self.parent, members, self.floor, list(self.cut), self.proposer, self.chains]
        )
        return packed

    @classmethod
    def from_bytes(cls, data: bytes) -> View:
        """The view in *data*.

        Raises:
            MalformedMessage: not canonical, members unsorted or doubled, or a field out of range.
        """
        number, parent, members, floor, cut, proposer, chains = unpack_list(data, 7)
        if not isinstance(members, list) or not 1 <= len(members) <= MEMBERS_MAX:
            raise MalformedMessage("range", "view members")
        if not isinstance(cut, list) or len(cut) > MEMBERS_MAX:
            raise MalformedMessage("range", "view cut")
        view = cls(
            number=check_int(number, 1, 2**32 - 1),
            parent=check_bytes(parent, ID_SIZE),
            members=tuple(member_from(item) for item in members),
            floor=check_int(floor),
            cut=tuple(check_int(seq) for seq in cut),
            proposer=check_bytes(proposer, NODE_ID_SIZE),
            chains=check_blob(chains, CHAIN_SIZE * MEMBERS_MAX),
        )
        ids = view.node_ids
        if any(a >= b for a, b in itertools.pairwise(ids)) or view.to_bytes() != data:
            raise MalformedMessage("canonical", "view")
        return view


def make_view(
    *,
    number: int,
    parent: bytes,
    members: tuple[Member, ...],
    floor: int,
    cut: tuple[int, ...],
    proposer: bytes,
    chains: bytes | None = None,
) -> View:
    """A view with its members brought into order. Without *chains* the cut must be all zeros."""
    ordered = tuple(sorted(members, key=lambda member: member.node_id))
    named = NO_CHAIN * len(cut) if chains is None else chains
    return View(number, parent, ordered, floor, cut, proposer, named)


HistoryItem = View | Entry
"""One step of history: a view installed, or an entry that became final."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a peer needs to go on from one place in history.

    Attributes:
        lineage: id of view 1.
        view: the view in which `key` lies.
        key: the last history item included.
        position: number of final commands included.
        digest: the digest chain after them, 32 bytes.
        seqs: per member of `view`, how many of its entries of that view are included.
        last_n: (origin, last n applied) of every origin that ever issued a command, ascending.
        machine: `StateMachine.snapshot()`.
        chains: `CHAIN_SIZE` bytes per member of `view`: the chain of its entries up to `seqs`. Empty from a peer
            that is no member of it: only members vouch for entries.
    """

    lineage: bytes
    view: View
    key: OrderKey
    position: int
    digest: bytes
    seqs: tuple[int, ...]
    last_n: tuple[tuple[bytes, int], ...]
    machine: bytes
    chains: bytes = b""

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        last_n = [[origin, n] for origin, n in self.last_n]
        packed: bytes = msgpack.packb(
            [
                self.lineage,
                self.view.to_bytes(),
                self.key.timestamp,
                self.key.origin,
                self.position,
                self.digest,
                list(self.seqs),
                last_n,
                self.machine,
                self.chains,
            ]
        )
        return packed

    @classmethod
    def from_bytes(cls, data: bytes) -> Snapshot:
        """The snapshot in *data*.

        Raises:
            MalformedMessage: not a snapshot.
        """
        lineage, view, timestamp, origin, position, digest, seqs, last_n, machine, chains = unpack_list(
            data, 10
        )
        decoded = View.from_bytes(check_blob(view))
        if not isinstance(seqs, list) or len(seqs) != len(decoded.members):
            raise MalformedMessage("arity", "seqs")
        if not isinstance(last_n, list):
            raise MalformedMessage("type", "last n")
        pairs = [check_list(pair, 2) for pair in last_n]
        return cls(
            lineage=check_bytes(lineage, ID_SIZE),
            view=decoded,
            key=OrderKey(decoded.number, check_int(timestamp), check_blob(origin, NODE_ID_SIZE)),
            position=check_int(position),
            digest=check_bytes(digest, DIGEST_SIZE),
            seqs=tuple(check_int(seq) for seq in seqs),
            last_n=tuple((check_bytes(origin_, NODE_ID_SIZE), check_int(n)) for origin_, n in pairs),
            machine=check_blob(machine, INT_MAX),
            chains=check_blob(chains, CHAIN_SIZE * MEMBERS_MAX),
        )


def next_digest(digest: bytes, entry: Entry, events: bytes) -> bytes:
    """The chain one final entry further: BLAKE2b-256(digest ‖ length of body ‖ body ‖ events)."""
    body = entry.body
    state = hashlib.blake2b(digest, digest_size=DIGEST_SIZE)
    state.update(len(body).to_bytes(4, "big"))
    state.update(body)
    state.update(events)
    return state.digest()


def next_chain(chain: bytes, entry: Entry) -> bytes:
    """The chain of an origin's entries in one view, one entry further: BLAKE2b-128(chain ‖ body).

    Who says a seq and its chain says which entries they are, from the first of the view on.
    """
    return hashlib.blake2b(chain + entry.body, digest_size=CHAIN_SIZE).digest()


def chain_of(chains: bytes, place: int) -> bytes:
    """The chain of one place among *chains*, which holds one after the other."""
    return chains[CHAIN_SIZE * place : CHAIN_SIZE * (place + 1)]


def joined_arrays(arrays: list[bytes], count: int) -> bytes:
    """One msgpack array of all *count* elements of several, without decoding them."""
    if len(arrays) == 1:
        return arrays[0]
    # Commands submitted one by one come here as many short arrays, whose header is one byte.
    bodies = [array[1:] if array[0] < 0xDC else array[header_size(array) :] for array in arrays]
    return array_header(count) + b"".join(bodies)


def array_header(count: int) -> bytes:
    """How a msgpack array of *count* elements begins, in its shortest form."""
    if count < 16:
        return bytes((0x90 | count,))
    return b"\xdc" + count.to_bytes(2, "big")


def header_size(array: bytes) -> int:
    """How many bytes the header of a msgpack array has: 1, 3 or 5."""
    return {0xDC: 3, 0xDD: 5}.get(array[0], 1)


def array_count(array: bytes) -> int | None:
    """How many elements the header of a msgpack array promises; None when it is not one."""
    if not array:
        return None
    if 0x90 <= array[0] <= 0x9F:
        return array[0] & 0x0F
    if array[0] in (0xDC, 0xDD) and len(array) >= header_size(array):
        return int.from_bytes(array[1 : header_size(array)], "big")
    return None


# -- checks shared by every decoder --------------------------------------------------------------------------


def check_int(value: object, low: int = 0, high: int = INT_MAX) -> int:
    """*value* if it is an integer (not a bool) from *low* to *high*, else MalformedMessage."""
    if type(value) is not int:
        raise MalformedMessage("type", "expected an integer")
    if not low <= value <= high:
        raise MalformedMessage("range", f"{value} is not within {low}..{high}")
    return value


def check_bytes(value: object, size: int) -> bytes:
    """*value* if it is exactly *size* bytes, else MalformedMessage."""
    if type(value) is not bytes:
        raise MalformedMessage("type", "expected bytes")
    if len(value) != size:
        raise MalformedMessage("range", f"{len(value)} bytes instead of {size}")
    return value


def check_blob(value: object, size_max: int = 1 << 20) -> bytes:
    """*value* if it is at most *size_max* bytes, else MalformedMessage."""
    if type(value) is not bytes:
        raise MalformedMessage("type", "expected bytes")
    if len(value) > size_max:
        raise MalformedMessage("range", f"{len(value)} bytes, at most {size_max}")
    return value


def check_list(value: object, arity: int) -> list[object]:
    """*value* if it is a list of *arity* elements, else MalformedMessage."""
    if not isinstance(value, list):
        raise MalformedMessage("type", "expected a list")
    if len(value) != arity:
        raise MalformedMessage("arity", f"{len(value)} fields instead of {arity}")
    return value


def member_from(value: object) -> Member:
    """The member in a `[public key, address, incarnation]` list.

    Raises:
        MalformedMessage: it is not one.
    """
    public_key, address, incarnation = check_list(value, 3)
    if type(address) is not str or not 0 < len(address.encode("utf-8", "replace")) <= ADDRESS_BYTES_MAX:
        raise MalformedMessage("type", "address")
    return Member(PublicKey(check_bytes(public_key, PUBLIC_KEY_SIZE)), address, check_int(incarnation, 1))


def unpack_list(data: bytes, arity: int) -> list[object]:
    """The msgpack array of *arity* elements in *data*.

    Raises:
        MalformedMessage: it does not decode, or is something else.
    """
    try:
        value = msgpack.unpackb(data, strict_map_key=True, raw=False)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise MalformedMessage("encoding", type(error).__name__) from None
    return check_list(value, arity)
