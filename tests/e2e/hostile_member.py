"""A member that lies: `python hostile_member.py HOST:PORT`. It joins by the rules, then attacks as its input says.

A line names an attack; `{"event": "did", "attack": …}` tells that it was carried out. It is a member like any other in
between, so that everything it says is taken seriously. It respects no underscore.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dhtex.errors import MalformedMessage
from dhtex.identity import Identity, NodeId, PublicKey
from dhtex.matching import Kind, MarketSpec, Place, Side, encode_commands
from dhtex.peer import Founding, Peer
from dhtex.replication import TAGS, AskViews, Entry, Message, Status, decode, encode
from dhtex.replication.messages import Accept, Entries, Join, Prepare, Views
from dhtex.replication.values import INT_MAX, Ballot, make_view, signing_context
from dhtex.transport import Address, Channel

FLOOD_DATAGRAMS: Final = 20_000
REPEATS: Final = 3

Notification = tuple[int, list[Any]]


@dataclass(frozen=True)
class Liar:
    """Signs with its own key in another's name."""

    node_id: NodeId
    identity: Identity

    @property
    def public_key(self) -> PublicKey:
        return self.identity.public_key

    def sign(self, message: bytes) -> bytes:
        return self.identity.sign(message)

    def verify(self, public_key: PublicKey, message: bytes, signature: bytes) -> bool:
        return self.identity.verify(public_key, message, signature)


class Attacker:
    """A member, and everything that was ever said to it."""

    def __init__(self, peer: Peer, rng: random.Random) -> None:
        self.peer = peer
        self.identity = peer.node.identity
        self.channel: Channel = peer.node.endpoint._channels[peer.spec.group_id]
        self.heard: list[Notification] = []
        self.rng = rng
        self._honest = self.channel._handler
        self._notify = self.channel.notify
        self.channel._handler = self
        self.channel.notify = self._listen_to_itself  # type: ignore[method-assign]  # to know its own entries

    def on_notifications(
        self, sender: PublicKey, node_id: NodeId, address: Address, notifications: Sequence[Notification]
    ) -> None:
        self.heard += notifications[: 10_000 - len(self.heard)]
        self._honest.on_notifications(sender, node_id, address, notifications)

    def _listen_to_itself(
        self, node_ids: Sequence[NodeId], notifications: Sequence[tuple[int, Sequence[Any]]]
    ) -> None:
        self.heard += [(tag, list(params)) for tag, params in notifications][: 10_000 - len(self.heard)]
        self._notify(node_ids, notifications)

    # -- what it knows

    @property
    def others(self) -> list[NodeId]:
        view = self.peer.view
        return [NodeId(n) for n in view.node_ids if n != self.peer.node_id] if view is not None else []

    @property
    def number(self) -> int:
        view = self.peer.view
        return view.number if view is not None else 0

    @property
    def lineage(self) -> bytes:
        return self.peer.replica.lineage

    def entries(self) -> list[Entry]:
        """Every entry it ever saw, each once."""
        tag = TAGS[Entries]
        found = [decode(*each) for each in self.heard if each[0] == tag]
        return list({e.raw: e for m in found if isinstance(m, Entries) for e in m.entries}.values())

    def next_of(self, origin: bytes) -> tuple[int, int]:
        """The next seq in this view, and the next n, of a member."""
        mine = [entry for entry in self.entries() if entry.origin == origin]
        seq = max((entry.seq for entry in mine if entry.view == self.number), default=0) + 1
        return seq, max((entry.first_n + entry.count for entry in mine), default=1)

    def sign(self, origin: NodeId, seq: int, n: int, price: int, late_us: int = 50_000) -> Entry:
        """An entry of *origin*, as far as this attacker can make one."""
        order = Place(side=Side.BUY, quantity=1, price=price, kind=Kind.LIMIT)
        return Entry.sign(
            Liar(origin, self.identity),
            signing_context(self.peer.spec.group_id, self.lineage),
            view=self.number,
            seq=seq,
            timestamp=time.time_ns() // 1000 + late_us,
            first_n=n,
            count=1,
            commands=encode_commands([order]),
        )

    # -- what it says

    def say(self, messages: Iterable[Message], to: Sequence[NodeId] | None = None) -> None:
        self.shout((encode(message) for message in messages), to)

    def shout(self, notifications: Iterable[Notification], to: Sequence[NodeId] | None = None) -> None:
        """Anything at all, a datagram for each."""
        for each in notifications:
            self._notify(self.others if to is None else to, [each])

    def say_entries(self, entries: Iterable[Entry], to: Sequence[NodeId] | None = None) -> None:
        self.say((Entries(self.lineage, (entry,)) for entry in entries), to)


# -- attacks ------------------------------------------------------------------------------------------------


async def forge(attacker: Attacker) -> None:
    """Entries in the name of others."""
    for victim in attacker.others:
        seq, n = attacker.next_of(victim)
        attacker.say_entries(attacker.sign(victim, seq + ahead, n + ahead, 1000) for ahead in range(5))


async def alter(attacker: Attacker) -> None:
    """Genuine entries with a bit turned: were they not verified first, honest members would seem to equivocate."""
    for entry in attacker.entries():
        for place in (0, 70, len(entry.raw) - 1):
            raw = bytearray(entry.raw)
            raw[place] ^= 1
            try:
                attacker.say_entries([Entry.from_bytes(bytes(raw))])
            except MalformedMessage:
                attacker.shout([(TAGS[Entries], [attacker.lineage, [bytes(raw)]])])


async def replay(attacker: Attacker) -> None:
    """Everything that anybody said, again, as if it were its own."""
    for _ in range(REPEATS):
        again = list(attacker.heard)
        attacker.rng.shuffle(again)
        for notification in again:
            attacker.shout([notification])
            await asyncio.sleep(0)


async def truncate(attacker: Attacker) -> None:
    """Messages that stop in the middle, and entries that do."""
    for tag, params in attacker.heard[:200]:
        attacker.shout((tag, params[:length]) for length in range(len(params)))
    for entry in attacker.entries()[:20]:
        cuts = range(0, len(entry.raw), 7)
        attacker.shout((TAGS[Entries], [attacker.lineage, [entry.raw[:cut]]]) for cut in cuts)


async def babble(attacker: Attacker) -> None:
    """Well-formed msgpack that means nothing."""
    rng = attacker.rng

    def value(depth: int = 0) -> Any:
        kinds: list[Callable[[], Any]] = [
            lambda: None,
            lambda: rng.random() < 0.5,
            lambda: rng.choice([-1, 0, 1, 2**31, INT_MAX, -INT_MAX]),
            rng.random,
            lambda: rng.randbytes(rng.choice([0, 1, 20, 32, 109])),
            lambda: "?" * rng.randrange(40),
            lambda: [] if depth > 3 else [value(depth + 1) for _ in range(rng.randrange(6))],
        ]
        return rng.choice(kinds)()

    for _ in range(2000):
        attacker.shout([(rng.randrange(30), [value() for _ in range(rng.randrange(9))])])
        await asyncio.sleep(0)


async def lie(attacker: Attacker) -> None:
    """Statuses that promise the future, hold what does not exist, and show another digest's length of history."""
    own = [m for m in attacker.heard if m[0] == TAGS[Status]]
    status = decode(*own[-1])
    assert isinstance(status, Status)
    lies = (
        status._replace(promise=INT_MAX),
        status._replace(wall=0),
        status._replace(have=(INT_MAX,) * len(status.have)),
        status._replace(have=()),
        status._replace(view=2**31),
        status._replace(lineage=bytes(20)),
    )
    attacker.say(lies)


async def usurp(attacker: Attacker) -> None:
    """Ballots that nobody may start, for views long past and to come, of another group, and in another's name."""
    view = attacker.peer.view
    assert view is not None
    me = next(member for member in view.members if member.node_id == attacker.peer.node_id)
    alone = make_view(
        number=view.number + 1,
        parent=view.id,
        members=(me,),
        floor=view.floor,
        cut=(0,) * len(view.members),
        proposer=attacker.peer.node_id,
    )
    theirs = Ballot(5, attacker.others[0])
    mine = Ballot(5, attacker.peer.node_id)
    attacker.say([
        Prepare(attacker.lineage, view.number, theirs),
        Accept(attacker.lineage, view.number, theirs, alone),
        Prepare(attacker.lineage, view.number - 1, mine),
        Prepare(attacker.lineage, view.number + 7, mine),
        Prepare(bytes(20), view.number, mine),
        Accept(bytes(20), view.number, mine, alone),
        Join(attacker.lineage, view.number, me._replace(address="nowhere:0"), 0, 0),
        AskViews(attacker.lineage, 0),
    ])  # fmt: skip


async def flood(attacker: Attacker) -> None:
    """As much as it can send: true statuses over and over, and boxes full of noise."""
    own = [m for m in attacker.heard if m[0] == TAGS[Status]][-1:]
    for count in range(FLOOD_DATAGRAMS):
        attacker.shout(own if count % 2 else [(TAGS[Entries], [attacker.lineage, [os.urandom(900)]])])
        if count % 50 == 0:
            await asyncio.sleep(0)


async def equivocate(attacker: Attacker) -> None:
    """Two entries for one place, both to everybody."""
    seq, n = attacker.next_of(attacker.peer.node_id)
    first, second = (attacker.sign(attacker.peer.node_id, seq, n, price) for price in (1, 2))
    for _ in range(REPEATS):
        attacker.say_entries([first, second])


async def divide(attacker: Attacker) -> None:
    """Two entries for one place, one to each half of the others."""
    seq, n = attacker.next_of(attacker.peer.node_id)
    first, second = (attacker.sign(attacker.peer.node_id, seq, n, price) for price in (1, 2))
    half = len(attacker.others) // 2
    for _ in range(REPEATS):
        attacker.say_entries([first], attacker.others[:half])
        attacker.say_entries([second], attacker.others[half:])


async def usurp_rounds(attacker: Attacker) -> None:
    """A ballot above which there is none."""
    attacker.say([Prepare(attacker.lineage, attacker.number, Ballot(INT_MAX, attacker.peer.node_id))])


async def usurp_future(attacker: Attacker) -> None:
    """A view that nobody decided, with a gap before it."""
    view = attacker.peer.view
    assert view is not None
    me = next(member for member in view.members if member.node_id == attacker.peer.node_id)
    made_up = make_view(
        number=view.number + 2,
        parent=view.id,
        members=(me,),
        floor=view.floor,
        cut=(0,) * len(view.members),
        proposer=me.node_id,
    )
    attacker.say([Views(attacker.lineage, (made_up,))])


ATTACKS: Final = (
    *(forge, alter, replay, truncate, babble, usurp, usurp_rounds, usurp_future, lie, flood),
    *(equivocate, divide),
)


def lines() -> Iterator[str]:
    while line := sys.stdin.readline():
        yield line.strip()


async def main(contact: str) -> None:
    peer = Peer(MarketSpec("BTC-USD"), contacts=[contact], founding=Founding.JOIN)
    by_name = {attack.__name__: attack for attack in ATTACKS}
    async with peer:
        attacker = Attacker(peer, random.Random(13))
        tell("started", node=peer.node_id.hex(), address=peer.address)
        given = lines()
        while (name := await asyncio.to_thread(next, given, None)) is not None:
            await peer.ready()  # who was left out for the attack before asks to join again
            order = await peer.buy(1, price=50)
            await order.final()
            await by_name[name](attacker)
            tell("did", attack=name)


def tell(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
