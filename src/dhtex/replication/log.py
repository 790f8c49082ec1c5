"""One origin's entries in one view: contiguous from 1, with what came too early kept aside within bounds."""

from __future__ import annotations

import enum

from dhtex.replication.values import NO_CHAIN, Entry, next_chain


class Fit(enum.Enum):
    """How an entry relates to the log it claims a place in."""

    NEXT = "next"
    AHEAD = "ahead"  # an earlier one is missing
    KNOWN = "known"  # the same body is here, or was and is no longer kept
    CONFLICT = "conflict"  # another body stands in its place: equivocation, if the signature is good


class OriginLog:
    """The entries of one origin in one view.

    Attributes:
        entries: seq `base + 1` … `appended`, without a gap.
        base: seq of the last entry that is no longer kept.
        chains: what vouches for the content of seq `base` … `appended`, see `values.next_chain`.
        replaced: how often entries held were given up for others of the same seq.
        appended: seq of the last entry held.
        durable: seq of the last entry held durably.
        final: seq of the last final entry.
        wanted: highest seq that anybody is known to hold.
        timestamp: of the last entry, or a lower bound of it.
        floor: a lower bound of all timestamps.
        unfinal_bytes: size of the entries held that are not final.
        retained_bytes: size of the final entries held.
    """

    __slots__ = (
        "ahead",
        "appended",
        "base",
        "chains",
        "durable",
        "entries",
        "final",
        "floor",
        "replaced",
        "retained_bytes",
        "timestamp",
        "unfinal_bytes",
        "wanted",
    )

    def __init__(self, base: int, timestamp: int, chain: bytes = NO_CHAIN) -> None:
        self.entries: list[Entry] = []
        self.chains = [chain]
        self.replaced = 0
        self.base = self.appended = self.durable = self.final = self.wanted = base
        self.timestamp = self.floor = timestamp
        self.ahead: dict[int, Entry] = {}
        self.unfinal_bytes = 0
        self.retained_bytes = 0

    def fit(self, entry: Entry) -> Fit:
        """How *entry* fits; changes nothing."""
        seq = entry.seq
        if seq == self.appended + 1:
            return Fit.NEXT
        if seq > self.appended:
            held = self.ahead.get(seq)
            if held is None:
                return Fit.AHEAD
        elif seq <= self.base:
            return Fit.KNOWN
        else:
            held = self.entries[seq - self.base - 1]
        return Fit.KNOWN if held.raw == entry.raw or held.body == entry.body else Fit.CONFLICT

    def append(self, entry: Entry) -> None:
        """The next entry."""
        self.entries.append(entry)
        self.chains.append(next_chain(self.chains[-1], entry))
        self.appended = entry.seq
        self.timestamp = entry.timestamp
        self.unfinal_bytes += len(entry.raw)
        self.wanted = max(self.wanted, entry.seq)
        if self.ahead:
            self.ahead.pop(entry.seq, None)

    def keep_ahead(self, entry: Entry, count_max: int) -> None:
        """Keep an entry that came too early. Full: the furthest one goes, it is the last to be of use."""
        self.wanted = max(self.wanted, entry.seq)
        self.ahead[entry.seq] = entry
        if len(self.ahead) > count_max:
            del self.ahead[max(self.ahead)]

    def at(self, seq: int) -> Entry | None:
        """The entry at *seq*, or None when it is not held."""
        place = seq - self.base - 1
        return self.entries[place] if 0 <= place < len(self.entries) else None

    def chain_at(self, seq: int) -> bytes:
        """The chain up to *seq*; empty when that is not known here."""
        place = seq - self.base
        return self.chains[place] if 0 <= place < len(self.chains) else b""

    def next_unfinal(self) -> Entry:
        """The first entry that is not final; only when `final < appended`."""
        return self.entries[self.final - self.base]

    def finalize_next(self) -> Entry:
        """Count the next entry as final."""
        entry = self.entries[self.final - self.base]
        self.final += 1
        size = len(entry.raw)
        self.unfinal_bytes -= size
        self.retained_bytes += size
        return entry

    def slice(self, first: int, last: int, limit_bytes: int) -> list[Entry]:
        """Entries *first* … *last* as far as held, from the front, until *limit_bytes*; at least one if held."""
        found: list[Entry] = []
        for seq in range(max(first, self.base + 1), min(last, self.appended) + 1):
            entry = self.entries[seq - self.base - 1]
            limit_bytes -= len(entry.raw)
            if found and limit_bytes < 0:
                break
            found.append(entry)
        return found

    def first_gap(self) -> tuple[int, int] | None:
        """The first range that is known to exist and not held, or None."""
        if self.wanted <= self.appended:
            return None
        early = [seq for seq in self.ahead if seq > self.appended + 1]
        return self.appended + 1, min(early) - 1 if early else self.wanted

    def trim(self, seq: int) -> None:
        """Forget final entries up to *seq*: everyone holds them."""
        drop = min(seq, self.final) - self.base
        if drop > 0:
            self.retained_bytes -= sum(len(entry.raw) for entry in self.entries[:drop])
            del self.entries[:drop], self.chains[:drop]
            self.base += drop

    def truncate(self, cut: int) -> list[Entry]:
        """Drop everything beyond *cut*, and give it back."""
        kept = max(0, cut - self.base)
        void = self.entries[kept:]
        del self.entries[kept:], self.chains[kept + 1 :]
        self.unfinal_bytes -= sum(len(entry.raw) for entry in void)
        self.appended = min(self.appended, cut)
        self.durable = min(self.durable, cut)
        self.wanted = min(self.wanted, cut)
        self.ahead.clear()
        return void

    def give_up(self, seq: int) -> None:
        """Drop what was held beyond *seq*: other entries are to take their places."""
        wanted = self.wanted
        self.truncate(seq)
        last = self.at(seq)
        self.timestamp = self.floor if last is None else last.timestamp
        self.wanted = wanted
        self.replaced += 1
