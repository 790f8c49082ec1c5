"""Timings and limits of a replica. All times are integer microseconds; relations are checked when made."""

from __future__ import annotations

from dataclasses import dataclass

from dhtex.errors import UsageError
from dhtex.replication.values import COUNT_MAX, ENTRY_BYTES_MAX

MILLISECOND = 1_000
SECOND = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaConfig:
    """How patient, how eager and how big. The defaults suit anything from loopback to the public internet.

    Raises:
        UsageError: a value that cannot work with another; the sentence names both.
    """

    # Clock
    max_drift: int = 1 * SECOND
    """A clock further off than this is refused."""
    ceiling_ahead: int = 200 * MILLISECOND
    """How far ahead of the clock its durable upper bound is put."""

    # Failure detection
    heartbeat_interval: int = 100 * MILLISECOND
    """A status at least this often."""
    active_heartbeat_interval: int = 25 * MILLISECOND
    """A status at least this often while something waits to become final.

    A lost one costs no more than this.
    """
    suspect_after: int = 1 * SECOND
    """A member that said nothing usable for this long is suspected."""
    stalled_after: int = 4 * SECOND
    """A member that is heard but holds up finality for this long is suspected (full or hung disk, liar)."""

    # View change
    rank_delay: int = 150 * MILLISECOND
    """The member of rank r waits r times this before it proposes a change, plus some at random."""
    gather_time: int = 150 * MILLISECOND
    """How long a proposer with a majority of promises waits for the other live members."""
    ballot_timeout: int = 800 * MILLISECOND
    """A ballot that got nowhere for this long is given up, by its proposer and by those frozen under it.

    The next one of the same view is waited for twice as long, up to eight times.
    """
    resend_interval: int = 60 * MILLISECOND
    """Prepare, accept and requests to follow or join are repeated this often until answered."""

    # Entries
    entry_commands_max: int = 1024
    """Most commands gathered in one entry."""
    entry_bytes_max: int = 48 * 1024
    """Most bytes of commands in one entry."""
    pipeline_max: int = 8
    """Own entries on their way to a majority; more commands gather meanwhile, so load makes batches."""
    accept_within: int = 20 * MILLISECOND
    """Commands that got into no entry for this long are made durable as pending."""
    pending_commands_max: int = 100_000
    pending_bytes_max: int = 16 * 1024 * 1024
    """Own commands not yet final; above either, `submit` raises `Busy`."""

    # Other members' entries
    ahead_entries_max: int = 256
    """Entries per origin kept while an earlier one is missing."""
    unfinal_bytes_max: int = 64 * 1024 * 1024
    """Entries per origin that are not final; above it, they are not taken (and asked for again later)."""
    retained_bytes_max: int = 128 * 1024 * 1024
    """Final entries kept in memory because some member lacks them; above it, that member is suspected."""
    fetch_delay: int = 4 * MILLISECOND
    """A gap younger than this is taken for reordering."""
    fetch_interval: int = 40 * MILLISECOND
    """What did not come is asked for again this often."""
    fetch_bytes_max: int = 512 * 1024
    """Most bytes sent in answer to one request, and per `fetch_interval` and requester."""
    message_bytes_max: int = 60 * 1024
    """Entries are put together in messages of about this size."""

    # History, observers, snapshots
    history_bytes_max: int = 8 * 1024 * 1024
    """Recent final entries kept in memory; older ones are read from the journal."""
    history_reply_bytes_max: int = 60 * 1024
    """Most bytes of history in one answer."""
    poll_hold: int = 400 * MILLISECOND
    """An observer at the head is answered after this long even when nothing happened."""
    follow_timeout: int = 1_200 * MILLISECOND
    """An observer that heard nothing for this long asks someone else."""
    observers_max: int = 256
    """Observers served at once."""
    join_within: int = 300
    """A newcomer asks to join when it lacks no more commands than this."""
    joiner_memory: int = 2 * SECOND
    """A request to join is forgotten when it was not repeated for this long."""
    members_max: int = 9
    """Most members of a group; others observe."""
    snapshot_every: int = 50_000
    """Final commands between two snapshots; two intervals of history are kept."""
    piece_bytes: int = 16 * 1024
    """Snapshot bytes per piece."""
    pieces_in_flight: int = 8
    """Pieces asked for at once."""
    snapshot_bytes_max: int = 1024 * 1024 * 1024
    """Largest snapshot a newcomer accepts."""

    def __post_init__(self) -> None:
        positive = (name for name in self.__slots__ if name not in {"fetch_delay", "accept_within"})
        for name in positive:
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} must be positive")
        _less(self, "heartbeat_interval", "suspect_after")
        _less(self, "active_heartbeat_interval", "suspect_after")
        _less(self, "gather_time", "ballot_timeout")
        _less(self, "resend_interval", "ballot_timeout")
        _less(self, "ceiling_ahead", "max_drift")
        _less(self, "poll_hold", "follow_timeout")
        _less(self, "suspect_after", "stalled_after")
        if self.entry_commands_max > COUNT_MAX:
            raise UsageError(f"entry_commands_max is {self.entry_commands_max}, at most {COUNT_MAX}")
        if self.entry_bytes_max > ENTRY_BYTES_MAX - 1024:  # header and signature need some room
            raise UsageError(f"entry_bytes_max is {self.entry_bytes_max}, at most {ENTRY_BYTES_MAX - 1024}")


def _less(config: ReplicaConfig, low: str, high: str) -> None:
    if getattr(config, low) >= getattr(config, high):
        raise UsageError(
            f"{low} ({getattr(config, low)} µs) must be shorter than {high} ({getattr(config, high)} µs)"
        )
