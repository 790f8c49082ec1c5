"""Every error a user can meet: one hierarchy, split by what the caller can do about it.

* `UsageError`: I asked for something that makes no sense. Fix the request. Exit code 2.
* `PeerError`: the other side broke the rules or refused. Nothing on this side needs fixing.
* `NetworkError`: no answer, no address, no port. Try again, or elsewhere.
* `StorageError`: the disk or a file on it. Nothing was lost; the sentence says what to do.

The message is one sentence for people, attributes are for programs, and `exit_code` is what the command
line ends with.
"""

from __future__ import annotations


class DhtexError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1


class UsageError(DhtexError):
    """The request itself is wrong; sending it again will not help."""

    exit_code = 2


class OrderError(UsageError):
    """A command that no market could accept: bad number, unknown side, off the tick or the lot."""


class UnknownOrder(OrderError):
    """No open or pending order is called that."""


class NotOwner(OrderError):
    """The order is another node's; only its owner can cancel or amend it."""


class MarketError(UsageError):
    """A market definition that makes no sense, such as a tick of zero."""


class NotRunning(UsageError):
    """The object was used before it was started or after it was closed."""


class Busy(DhtexError):
    """Too much is pending already; wait for some of it to become final, then try again."""


class LockLost(DhtexError):
    """The lease of a lock ended while it was held; what it protects may be another node's by now."""


class FellBehind(DhtexError):
    """A reader of events was slower than the events for too long; some are missing from its view."""


class PeerError(DhtexError):
    """The other side broke a rule of the protocol, or refused."""


class MalformedMessage(PeerError):
    """Bytes that are not a message. The only error any decoder raises, whatever the bytes.

    Attributes:
        reason: a short fixed word for counters, such as `arity`, `type`, `range`, `signature`.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class RpcError(PeerError):
    """The remote handler answered with an error.

    Attributes:
        code: a short fixed word, such as `unknown_method` or `busy`.
        text: one sentence.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code
        self.text = text


class NetworkError(DhtexError):
    """The network gave no answer, or no place to listen."""


class RpcTimeout(NetworkError):
    """No answer before the deadline."""


class PortInUse(NetworkError):
    """Another program already listens on the address."""


class Unreachable(NetworkError):
    """None of the addresses given answered."""


class ReplayMismatch(DhtexError):
    """A replay gave something else than its file says."""


class StorageError(DhtexError):
    """The disk, or a file on it."""


class JournalCorrupt(StorageError):
    """The journal is damaged, or not a journal; it is left as it was found."""


class JournalForeign(StorageError):
    """The journal belongs to another identity, market or program version."""


class JournalLocked(StorageError):
    """Another process has the journal open."""


class JournalFull(StorageError):
    """No room to write; nothing more is accepted until there is."""


class KeyFileError(StorageError):
    """The identity file cannot be read, is damaged, or others may read it."""


def invariant(holds: bool, sentence: str) -> None:
    """Stop where going on would corrupt state. Unlike `assert`, it stays under `python -O`.

    Raises:
        RuntimeError: *holds* is false: a bug in this package, never bad input.
    """
    if not holds:
        raise RuntimeError(f"invariant broken: {sentence}")
