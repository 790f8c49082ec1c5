"""What a batch of commands did, kept as bytes until somebody asks for values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dhtex.matching.commands import Row, decode_rows
from dhtex.matching.events import Event
from dhtex.matching.stream import read_events, touched_keys


class Batch:
    """The outcome of one batch; immutable.

    Attributes:
        digest_bytes: canonical bytes of all events, equal at every replica: they go into the log's digest.
        owner: the 20-byte node id whose commands these were.
        position: that of the first command applied.
        timestamp: microseconds, the same for all of them.
    """

    __slots__ = ("_count", "_rows", "_skip", "digest_bytes", "first_n", "owner", "position", "timestamp")

    def __init__(
        self,
        digest_bytes: bytes,
        rows: bytes | Sequence[Row] | None,
        owner: bytes,
        first_n: int,
        position: int,
        timestamp: int,
        count: int,
        skip: int,
    ) -> None:
        self.digest_bytes = digest_bytes
        self.owner = owner
        self.first_n = first_n
        self.position = position
        self.timestamp = timestamp
        self._rows = rows
        self._count = count
        self._skip = skip

    def __len__(self) -> int:
        """Commands applied."""
        return self._count

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events())

    def events(self) -> tuple[Event, ...]:
        """The events of all commands, in order; made anew at each call."""
        return read_events(self.digest_bytes, self._applied(), self.owner, self.first_n, self.position)

    def touched_keys(self) -> set[int]:
        """The keys (price for a bid, −price for an ask) whose level may have changed."""
        return touched_keys(self.digest_bytes, self._applied())

    def _applied(self) -> Sequence[Row] | None:
        return decode_rows(self._rows)[self._skip :] if isinstance(self._rows, bytes) else self._rows
