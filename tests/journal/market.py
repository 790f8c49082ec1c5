"""A journal of real orders, really signed: three members, two views, snapshots, final marks with true digests."""

from __future__ import annotations

import random
from pathlib import Path

from dhtex.exchange import Exchange
from dhtex.journal.schema import Owner, connect_writer, create
from dhtex.journal.store import Store
from dhtex.matching import Cancel, Command, MarketSpec, OrderId, Place, Side, encode_commands
from dhtex.replication.config import ReplicaConfig
from dhtex.replication.ledger import Ledger
from dhtex.replication.records import Appended, Compacted, Installed, Record, SnapshotTaken
from dhtex.replication.values import Entry, View, make_view, signing_context
from journal.author import IDENTITIES, ME, START, members_of

SPEC = MarketSpec("BTC-USD")


class MarketJournal:
    """Writes trading into a new journal at *path*.

    Attributes:
        ledger: what a peer that never stopped would know.
    """

    def __init__(self, path: Path) -> None:
        create(path, Owner(ME.node_id, SPEC.group_id, SPEC.canonical()))
        self.store = Store(connect_writer(path, "os"), ME.node_id)
        self.ledger = Ledger(Exchange(SPEC), ReplicaConfig())
        self._random = random.Random(1)
        self._n = {identity.node_id: 0 for identity in IDENTITIES[:3]}
        self._timestamp = START
        self.view = make_view(
            number=1,
            parent=b"p" * 20,
            members=members_of(IDENTITIES[:3]),
            floor=START,
            cut=(),
            proposer=ME.node_id,
        )
        self.lineage = self.view.id
        self._install(self.view)

    def trade(self, entries: int) -> None:
        """So many entries of a few orders each, all final."""
        records: list[Record] = []
        for _ in range(entries):
            entry = self.entry(self._random.choice(IDENTITIES[:3]), self._random.randrange(1, 6))
            self.ledger.apply(entry)
            records.append(Appended(entry))
        self.store.commit([*records, self.ledger.mark()])

    def entry(self, origin: object, count: int) -> Entry:
        """The next entry of one of the identities."""
        identity = next(identity for identity in IDENTITIES if identity is origin)
        first_n = self._n[identity.node_id] + 1
        self._n[identity.node_id] += count
        self._timestamp += self._random.randrange(1, 1000)
        return Entry.sign(
            identity,
            signing_context(SPEC.group_id, self.lineage),
            view=self.view.number,
            seq=self.ledger.seqs.get(identity.node_id, 0) + 1,
            timestamp=self._timestamp,
            first_n=first_n,
            count=count,
            commands=encode_commands([self._command(identity.node_id, first_n + i) for i in range(count)]),
        )

    def _command(self, node_id: bytes, n: int) -> Command:
        if n > 3 and self._random.random() < 0.2:
            return Cancel(OrderId(node_id, self._random.randrange(1, n)))
        side = self._random.choice((Side.BUY, Side.SELL))
        return Place(side, self._random.randrange(1, 10**9), self._random.randrange(9900, 10100))

    def next_view(self) -> None:
        """The same members go on in a new view."""
        cut = tuple(self.ledger.seqs.get(node_id, 0) for node_id in self.view.node_ids)
        self.view = make_view(
            number=self.view.number + 1,
            parent=self.view.id,
            members=self.view.members,
            floor=self._timestamp,
            cut=cut,
            proposer=ME.node_id,
        )
        self._install(self.view)

    def _install(self, view: View) -> None:
        self.ledger.install(view)
        self.store.commit([Installed(view)])

    def snapshot(self) -> None:
        """Take one of now."""
        self.store.commit([self.ledger.mark(), SnapshotTaken(self.ledger.take_snapshot(self.lineage))])

    def compact(self) -> None:
        """Drop history up to now."""
        self.store.commit([Compacted(self.ledger.key)])
        while not self.store.is_tidy:
            self.store.tidy()

    def close(self) -> None:
        """Done."""
        self.store.close()


def ordinary(path: Path, *, compacted: bool = False) -> MarketJournal:
    """Two views, two snapshots, some entries after them; what is before the first snapshot dropped if *compacted*."""
    journal = MarketJournal(path)
    journal.trade(40)
    journal.snapshot()
    if compacted:
        journal.compact()
    journal.trade(20)
    journal.next_view()
    journal.trade(20)
    journal.snapshot()
    journal.trade(20)
    journal.close()
    return journal
