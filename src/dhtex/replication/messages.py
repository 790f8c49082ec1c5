"""What members say to each other: one frozen value a message, to and from `(tag, params)`.

The transport carries `[2, tag, params]`; this module turns the two into a value or raises `MalformedMessage`,
after which every field has its type and range. Docs: `docs/reference/replication-messages.md`.

Rules for changing a message: new fields last and optional in the decoder, never re-typed, tags never reused.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from dhtex.errors import MalformedMessage
from dhtex.identity import NODE_ID_SIZE
from dhtex.replication.values import (
    CHAIN_SIZE,
    DIGEST_SIZE,
    ENTRY_BYTES_MAX,
    ID_SIZE,
    INT_MAX,
    MEMBERS_MAX,
    Ballot,
    Entry,
    HistoryItem,
    Member,
    OrderKey,
    View,
    check_blob,
    check_bytes,
    check_int,
    check_list,
    member_from,
)

ENTRIES_MAX: Final = 4096
"""Most entries or history items in one message; an entry has 109 bytes at least, a message some 64 KiB."""
VIEWS_MAX: Final = 256
PIECE_BYTES_MAX: Final = 64 * 1024


class Flag(enum.IntEnum):
    """What a status says beside its numbers, one bit each."""

    FROZEN = 1  # a ballot is promised: `promise` and `have` say nothing, the member is alive
    LEAVING = 2  # wants to be left out of the next view
    AILING = 4  # cannot write to its disk: it acknowledges nothing, go on without it


class Reason(enum.IntEnum):
    """Why a message was refused; goes back to its sender so that both sides can say so."""

    CLOCK_AHEAD = 1
    CLOCK_BEHIND = 2
    GROUP_FULL = 3
    CONDEMNED = 4


class Entries(NamedTuple):
    """Signed entries, of any origin: new ones from their origin, or the answer to a `Fetch`."""

    lineage: bytes
    entries: tuple[Entry, ...]


class Status(NamedTuple):
    """How far a member is. Its numbers only grow within a view, so statuses may arrive in any order.

    Attributes:
        lineage: id of view 1.
        view: number of the sender's view.
        flags: `Flag` bits.
        promise: T, microseconds: the sender will never issue an entry with a timestamp ≤ T other than those
            up to `have` at its own place. 0 promises nothing.
        wall: the sender's wall clock, microseconds; only for telling a bad clock.
        have: for every member of the view, in its order, how many entries the sender holds durably. Empty
            when frozen.
        position: number of final commands at the sender.
        digest: the sender's digest at that position, 32 bytes.
        chains: `CHAIN_SIZE` bytes for every number of `have`: which entries these are (`values.next_chain`).
    """

    lineage: bytes
    view: int
    flags: int
    promise: int
    wall: int
    have: tuple[int, ...]
    position: int
    digest: bytes
    chains: bytes


class Range(NamedTuple):
    """Entries of one origin, both ends included."""

    origin: bytes
    first: int
    last: int


class Fetch(NamedTuple):
    """Asks for entries of a view; answered by `Entries`, as many as the limits allow, from the front."""

    lineage: bytes
    view: int
    ranges: tuple[Range, ...]


class Prepare(NamedTuple):
    """Paxos 1a for the view after *view*."""

    lineage: bytes
    view: int
    ballot: Ballot


class Promise(NamedTuple):
    """Paxos 1b. The sender is frozen.

    Attributes:
        accepted, value: the value accepted under the highest ballot so far, if any.
        have: entries held durably per member of *view*; the sender acknowledges no more of it.
        clock: the sender's wall clock, or the timestamp of an entry that it holds if that is later.
        chains: as in a `Status`.
    """

    lineage: bytes
    view: int
    ballot: Ballot
    accepted: Ballot
    value: View | None
    have: tuple[int, ...]
    clock: int
    chains: bytes


class Reject(NamedTuple):
    """The sender has promised *ballot*, which is higher than the one it answers."""

    lineage: bytes
    view: int
    ballot: Ballot


class Accept(NamedTuple):
    """Paxos 2a. Answered only by an acceptor that holds every entry up to the value's cut."""

    lineage: bytes
    view: int
    ballot: Ballot
    value: View


class BallotAccepted(NamedTuple):
    """Paxos 2b."""

    lineage: bytes
    view: int
    ballot: Ballot


class AskViews(NamedTuple):
    """Asks for the view records after number *view*."""

    lineage: bytes
    view: int


class Views(NamedTuple):
    """View records, ascending without a gap: a decision, or what an older message showed to be lacking."""

    lineage: bytes
    views: tuple[View, ...]


class AskHistory(NamedTuple):
    """An observer's long poll: everything in the order after *after*. One is outstanding at a time.

    Answered by `History` as soon as there is something, or `SnapshotOffer` when that much is no longer kept.
    *wall* is the observer's clock.
    """

    lineage: bytes
    after: OrderKey
    wall: int


class History(NamedTuple):
    """Consecutive history after *after*; nothing between the items is missing.

    Attributes:
        items: views and final entries in order. Empty: nothing new, the sender is alive.
        head: number of final commands at the sender, which may lie beyond the last item.
        digest: the sender's digest at the head, 32 bytes.
    """

    lineage: bytes
    after: OrderKey
    items: tuple[HistoryItem, ...]
    head: int
    digest: bytes


class SnapshotOffer(NamedTuple):
    """A snapshot to fetch by pieces: *size* bytes with the BLAKE2b-256 *checksum*, reaching to *position*."""

    lineage: bytes
    position: int
    size: int
    checksum: bytes


class AskSnapshot(NamedTuple):
    """Asks for the piece of the snapshot at *position* that begins at byte *offset*."""

    lineage: bytes
    position: int
    offset: int


class SnapshotPiece(NamedTuple):
    """One piece; pieces are as long as the receiver's `piece_bytes`, the last one shorter."""

    lineage: bytes
    position: int
    offset: int
    piece: bytes


class Join(NamedTuple):
    """An observer near the head of *view* asks to be a member of the next one."""

    lineage: bytes
    view: int
    member: Member
    wall: int
    position: int


class Refused(NamedTuple):
    """A message was refused; *amount* is microseconds of clock drift, or 0."""

    lineage: bytes
    reason: int
    amount: int


Message = (
    Entries
    | Status
    | Fetch
    | Prepare
    | Promise
    | Reject
    | Accept
    | BallotAccepted
    | AskViews
    | Views
    | AskHistory
    | History
    | SnapshotOffer
    | AskSnapshot
    | SnapshotPiece
    | Join
    | Refused
)

# -- fields: how each is written and checked -----------------------------------------------------------------


def _same(value: Any) -> Any:
    return value


def _list(value: Any) -> Any:
    return list(value)


def _id(value: object) -> bytes:
    return check_bytes(value, ID_SIZE)


def _digest(value: object) -> bytes:
    return check_bytes(value, DIGEST_SIZE)


def _view_number(value: object) -> int:
    return check_int(value, 0, 2**32 - 1)


def _many(value: object, count_max: int, decode_one: Callable[[object], Any]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise MalformedMessage("type", "expected a list")
    if len(value) > count_max:
        raise MalformedMessage("range", f"{len(value)} items, at most {count_max}")
    return tuple([decode_one(item) for item in value])


def _seqs(value: object) -> tuple[int, ...]:
    if type(value) is not list or len(value) > MEMBERS_MAX:
        raise MalformedMessage("type", "expected a short list")
    for seq in value:
        if type(seq) is not int or not 0 <= seq <= INT_MAX:
            raise MalformedMessage("range", "seq")
    return tuple(value)


def _chains(value: object) -> bytes:
    return check_blob(value, CHAIN_SIZE * MEMBERS_MAX)


def _entry(value: object) -> Entry:
    return Entry.from_bytes(check_blob(value, ENTRY_BYTES_MAX))


def _entries(value: object) -> tuple[Entry, ...]:
    return _many(value, ENTRIES_MAX, _entry)


def _range(value: object) -> Range:
    origin, first, last = check_list(value, 3)
    found = Range(check_bytes(origin, NODE_ID_SIZE), check_int(first, 1), check_int(last, 1))
    if found.first > found.last:
        raise MalformedMessage("range", "a range ends before it begins")
    return found


def _ranges(value: object) -> tuple[Range, ...]:
    return _many(value, MEMBERS_MAX, _range)


def _ballot(value: object) -> Ballot:
    number, proposer = check_list(value, 2)
    return Ballot(check_int(number), check_blob(proposer, NODE_ID_SIZE))


def _view(value: object) -> View:
    return View.from_bytes(check_blob(value))


def _maybe_view(value: object) -> View | None:
    return None if value is None else _view(value)


def _views(value: object) -> tuple[View, ...]:
    return _many(value, VIEWS_MAX, _view)


def _key(value: object) -> OrderKey:
    view, timestamp, origin = check_list(value, 3)
    return OrderKey(_view_number(view), check_int(timestamp), check_blob(origin, NODE_ID_SIZE))


def _item(value: object) -> HistoryItem:
    """Entries and views need no tag of their own: a view is a list of one, an entry is bytes."""
    if isinstance(value, list):
        return _view(check_list(value, 1)[0])
    return _entry(value)


def _items(value: object) -> tuple[HistoryItem, ...]:
    return _many(value, ENTRIES_MAX, _item)


def _write_entries(value: tuple[Entry, ...]) -> list[bytes]:
    return [entry.raw for entry in value]


def _write_items(value: tuple[HistoryItem, ...]) -> list[Any]:
    return [item.raw if isinstance(item, Entry) else [item.to_bytes()] for item in value]


def _write_ranges(value: tuple[Range, ...]) -> list[list[Any]]:
    return [list(item) for item in value]


def _write_view(value: View) -> bytes:
    return value.to_bytes()


def _write_maybe_view(value: View | None) -> bytes | None:
    return None if value is None else value.to_bytes()


def _write_views(value: tuple[View, ...]) -> list[bytes]:
    return [view.to_bytes() for view in value]


def _piece(value: object) -> bytes:
    return check_blob(value, PIECE_BYTES_MAX)


_Writer = Callable[[Any], Any]
_Reader = Callable[[Any], Any]
_Field = tuple[_Writer, _Reader]

_LINEAGE: Final[_Field] = (_same, _id)
_VIEW: Final[_Field] = (_same, _view_number)
_INT: Final[_Field] = (_same, check_int)
_BALLOT: Final[_Field] = (_list, _ballot)
_SEQS: Final[_Field] = (_list, _seqs)
_CHAINS: Final[_Field] = (_same, _chains)

_TABLE: Final[dict[int, tuple[type[Any], tuple[_Field, ...]]]] = {
    1: (Entries, (_LINEAGE, (_write_entries, _entries))),
    2: (Status, (_LINEAGE, _VIEW, _INT, _INT, _INT, _SEQS, _INT, (_same, _digest), _CHAINS)),
    3: (Fetch, (_LINEAGE, _VIEW, (_write_ranges, _ranges))),
    4: (Prepare, (_LINEAGE, _VIEW, _BALLOT)),
    5: (Promise, (_LINEAGE, _VIEW, _BALLOT, _BALLOT, (_write_maybe_view, _maybe_view), _SEQS, _INT, _CHAINS)),
    6: (Reject, (_LINEAGE, _VIEW, _BALLOT)),
    7: (Accept, (_LINEAGE, _VIEW, _BALLOT, (_write_view, _view))),
    8: (BallotAccepted, (_LINEAGE, _VIEW, _BALLOT)),
    9: (AskViews, (_LINEAGE, _VIEW)),
    10: (Views, (_LINEAGE, (_write_views, _views))),
    11: (AskHistory, (_LINEAGE, (_list, _key), _INT)),
    12: (History, (_LINEAGE, (_list, _key), (_write_items, _items), _INT, (_same, _digest))),
    13: (SnapshotOffer, (_LINEAGE, _INT, _INT, (_same, _digest))),
    14: (AskSnapshot, (_LINEAGE, _INT, _INT)),
    15: (SnapshotPiece, (_LINEAGE, _INT, _INT, (_same, _piece))),
    16: (Join, (_LINEAGE, _VIEW, (_list, member_from), _INT, _INT)),
    17: (Refused, (_LINEAGE, _INT, (_same, lambda value: check_int(value, -INT_MAX)))),
}
TAGS: Final[dict[type[Any], int]] = {kind: tag for tag, (kind, _) in _TABLE.items()}
"""Message class -> tag on the wire."""

STRANGERS_MAY_SEND: Final = frozenset(TAGS[kind] for kind in (AskViews, AskHistory, AskSnapshot, Join))
"""Tags that a sender who is not a member may use (`design: transport, Who may talk`)."""


def encode(message: Message) -> tuple[int, list[Any]]:
    """The tag and the params of *message*, ready for msgpack."""
    tag = TAGS[type(message)]
    fields = _TABLE[tag][1]
    return tag, [write(value) for (write, _), value in zip(fields, message, strict=True)]


def decode(tag: object, params: object) -> Message:
    """The message of a tag and decoded params, every field checked.

    Raises:
        MalformedMessage: unknown tag, wrong number of fields, or a field of the wrong type or range.
    """
    entry = _TABLE.get(tag) if type(tag) is int else None
    if entry is None:
        raise MalformedMessage("tag", repr(tag)[:20])
    kind, fields = entry
    if type(params) is not list or len(params) != len(fields):
        raise MalformedMessage("arity", kind.__name__)
    message: Message = kind(*[read(value) for (_, read), value in zip(fields, params, strict=True)])
    return message
