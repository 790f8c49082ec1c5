"""Own commands on their way into entries: numbered once, kept in order, gathered into batches."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from dhtex.errors import Busy, UsageError
from dhtex.replication.config import ReplicaConfig
from dhtex.replication.records import Pending
from dhtex.replication.values import Entry, array_count, joined_arrays


@dataclass(slots=True)
class Waiting:
    """Consecutive commands not in any entry that counts, as many as one entry carries.

    Attributes:
        runs: what was submitted together, each a msgpack array; what is submitted one by one makes many.
        size: bytes of all of them.
        durable: they are in the journal, as a pending record or in a void entry, or will be before anything
            later.
        since: monotonic time when the first was submitted.
    """

    first_n: int
    count: int
    runs: list[bytes]
    size: int
    durable: bool
    since: int

    @property
    def commands(self) -> bytes:
        """One msgpack array of all of them."""
        return joined_arrays(self.runs, self.count)


class Gathered(NamedTuple):
    """What goes into one entry. *news*: (first n, count) of the part whose acceptance was not reported yet."""

    first_n: int
    count: int  # type: ignore[assignment]  # the field hides tuple.count, which nobody needs here
    commands: bytes
    news: tuple[tuple[int, int], ...]


class Submissions:
    """The queue of own commands, ascending by n.

    Attributes:
        next_n: what the next command will be called.
    """

    def __init__(self, config: ReplicaConfig) -> None:
        self._config = config
        self._queue: deque[Waiting] = deque()
        self._unsaved: deque[Waiting] = deque()  # the end of the queue: what is not durable
        self._bytes = 0
        self.next_n = 1

    def __len__(self) -> int:
        return len(self._queue)

    def check(self, commands: bytes, count: int, pending: int, unfinal_bytes: int) -> None:
        """May these be accepted, while *pending* commands and *unfinal_bytes* of own entries are not final?

        Raises:
            UsageError: not a msgpack array of *count* elements, or more than an entry carries.
            Busy: too much is pending.
        """
        config = self._config
        if array_count(commands) != count:
            raise UsageError(
                f"submit takes a msgpack array of commands and their count, which is not {count}"
            )
        if not 1 <= count <= config.entry_commands_max:
            raise UsageError(
                f"a run has 1 to {config.entry_commands_max} commands, this has {count}; split it"
            )
        if len(commands) > config.entry_bytes_max:
            raise UsageError(
                f"a run has up to {config.entry_bytes_max} bytes of commands, this has {len(commands)}; split it"
            )
        if pending + count > config.pending_commands_max:
            raise Busy(f"{pending} commands are pending already; wait for some of them to become final")
        if self._bytes + unfinal_bytes + len(commands) > config.pending_bytes_max:
            raise Busy(
                "too many bytes of commands are pending already; wait for some of them to become final"
            )

    def add(self, commands: bytes, count: int, now: int) -> int:
        """Number the commands and queue them; gives the first n."""
        first_n = self.next_n
        self.next_n += count
        size = len(commands)
        self._bytes += size
        last = self._unsaved[-1] if self._unsaved else None
        if (
            last is not None
            and first_n == last.first_n + last.count
            and self._fits(last.count + count, last.size + size)
        ):
            # Gathered as they come, so that from here on many commands cost what one does.
            last.runs.append(commands)
            last.count += count
            last.size += size
        else:
            item = Waiting(first_n, count, [commands], size, durable=False, since=now)
            self._queue.append(item)
            self._unsaved.append(item)
        return first_n

    def _fits(self, count: int, size: int) -> bool:
        """May *count* commands of *size* bytes travel in one entry?"""
        return count <= self._config.entry_commands_max and size <= self._config.entry_bytes_max

    def recover(self, pending: list[Pending]) -> None:
        """Durable commands of an earlier run, ascending."""
        for item in pending:
            self._queue.append(_durable(item))
            self._bytes += len(item.commands)
            self.next_n = max(self.next_n, item.first_n + item.count)

    def requeue(self, void: list[Entry]) -> int:
        """Commands of own void entries go back to the front, in their order; gives how many."""
        for entry in reversed(void):
            self._queue.appendleft(_durable(entry))
            self._bytes += len(entry.commands)
        return sum(entry.count for entry in void)

    def drop_final(self, last_n: int) -> None:
        """Forget commands up to *last_n*: they are final. A batch that is final in part stays whole; it is
        skipped.
        """
        while self._queue and self._queue[0].first_n + self._queue[0].count - 1 <= last_n:
            self._take()

    def gather(self) -> Gathered | None:
        """Take what fits into one entry from the front of the queue."""
        queue = self._queue
        if not queue:
            return None
        taken: list[Waiting] = []
        count = size = 0
        while queue:
            item = queue[0]
            if taken and item.first_n != taken[0].first_n + count:
                break
            if taken and not self._fits(count + item.count, size + item.size):
                break
            taken.append(self._take())
            count += item.count
            size += item.size
        news = tuple((item.first_n, item.count) for item in taken if not item.durable)
        runs = [run for item in taken for run in item.runs]
        return Gathered(taken[0].first_n, count, joined_arrays(runs, count), news)

    def _take(self) -> Waiting:
        item = self._queue.popleft()
        self._bytes -= item.size
        if self._unsaved and self._unsaved[0] is item:
            self._unsaved.popleft()
        return item

    def save(self) -> list[Waiting]:
        """Everything queued that is not durable, for pending records; it counts as durable from now on."""
        found = list(self._unsaved)
        self._unsaved.clear()
        for item in found:
            item.durable = True
        return found

    def oldest_unsaved(self) -> int | None:
        """When the first queued command that is not durable was submitted, monotonic; None without one."""
        return self._unsaved[0].since if self._unsaved else None


def _durable(item: Pending | Entry) -> Waiting:
    return Waiting(item.first_n, item.count, [item.commands], len(item.commands), durable=True, since=0)
