"""Request and response: repeated until answered, in effect at most once. Sans-IO: time is passed in.

`Calls` is the asking side for one peer, `Answers` the answering side, `Method` the typed face of both.

Source: `design: transport, RPC`.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Generic, TypeVar

from dhtex.errors import DhtexError, RpcTimeout
from dhtex.transport.codec import Response
from dhtex.transport.limits import Limits

RETRY_MIN = 0.05
RETRY_MAX = 1.0
JITTER = 0.25  # a quarter up or down, so that callers who failed together do not come back together

P = TypeVar("P")
R = TypeVar("R")
Finish = Callable[[Any, DhtexError | None], None]
"""Told the outcome of a call, once: (result, None) or (None, error)."""


@dataclass(frozen=True, slots=True)
class Method(Generic[P, R]):
    """A remote method and how its parameters and its result look on the wire.

    The four functions turn typed values to and from lists and plain values; the two `unpack_` raise
    `MalformedMessage` for what does not fit.
    """

    name: str
    pack_params: Callable[[P], list[Any]]
    unpack_params: Callable[[list[Any]], P]
    pack_result: Callable[[R], Any]
    unpack_result: Callable[[Any], R]


@dataclass(slots=True)
class _Call:
    frame: bytes
    deadline: float
    retry_at: float
    delay: float
    finish: Finish


class Calls:
    """Requests to one peer that have no answer yet."""

    __slots__ = ("_calls", "_random")

    def __init__(self, rng: random.Random) -> None:
        self._calls: dict[int, _Call] = {}
        self._random = rng

    def __len__(self) -> int:
        return len(self._calls)

    def start(
        self, call_id: int, frame: bytes, *, now: float, deadline: float, delay: float, finish: Finish
    ) -> None:
        """A request is on its way.

        Args:
            deadline: when to stop waiting, on the clock of *now*.
            delay: how long to wait for the first answer, about a round trip; doubles with every repetition.
            finish: told the outcome, unless the call is cancelled first.
        """
        delay = min(max(delay, RETRY_MIN), RETRY_MAX)
        self._calls[call_id] = _Call(frame, deadline, now + self._jittered(delay), delay, finish)

    def cancel(self, call_id: int) -> None:
        """Nobody waits any more. An answer that still arrives belongs to no call."""
        self._calls.pop(call_id, None)

    def answered(self, response: Response) -> bool:
        """False when no call waits for it: late, repeated, or invented."""
        call = self._calls.pop(response.id, None)
        if call is None:
            return False
        call.finish(response.result, response.error)
        return True

    def take_due(self, now: float) -> list[bytes]:
        """End the calls whose deadline has passed; the frames of those that are to be repeated now."""
        due: list[bytes] = []
        for call_id, call in list(self._calls.items()):
            if call.deadline <= now:
                del self._calls[call_id]
                call.finish(None, RpcTimeout("no answer before the deadline"))
            elif call.retry_at <= now:
                call.delay = min(2 * call.delay, RETRY_MAX)
                call.retry_at = now + self._jittered(call.delay)
                due.append(call.frame)
        return due

    def fail(self, error: DhtexError) -> None:
        """End every call with *error*."""
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.finish(None, error)

    @property
    def deadline(self) -> float | None:
        """When `take_due` has something to do, if there is a call."""
        if not self._calls:  # nearly always, and asked for with every datagram
            return None
        return min(min(call.deadline, call.retry_at) for call in self._calls.values())

    def _jittered(self, delay: float) -> float:
        return delay * self._random.uniform(1 - JITTER, 1 + JITTER)


class Verdict(Enum):
    """What to do with a request that arrived."""

    EXECUTE = auto()  # new: run the handler, then `remember` the answer
    IN_PROGRESS = auto()  # a repetition while the handler runs: nothing, the answer will follow
    REPEAT = auto()  # a repetition of something answered: send the remembered answer again
    BUSY = auto()  # too much in progress: refuse, and remember the refusal
    FORGOTTEN = auto()  # as old as what was forgotten: it may have run before, so it must not run now


class Answers:
    """The requests of one sender and what they were answered: the at-most-once memory.

    Bounded in number and bytes, and exact all the same: ids of one sender ascend, so when an answer is
    forgotten every id up to its own is refused from then on.
    """

    __slots__ = ("_answers", "_forgotten", "_in_progress", "_limits", "_size")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._answers: OrderedDict[int, bytes | None] = OrderedDict()  # None: in progress
        self._in_progress = 0
        self._size = 0
        self._forgotten = -1

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def size(self) -> int:
        """Bytes of answers held."""
        return self._size

    def admit(self, call_id: int, in_progress_max: int) -> Verdict:
        """Decide about a request; `EXECUTE` and `BUSY` also enter it."""
        if call_id in self._answers:
            return Verdict.IN_PROGRESS if self._answers[call_id] is None else Verdict.REPEAT
        if call_id <= self._forgotten:
            return Verdict.FORGOTTEN
        self._answers[call_id] = None
        self._in_progress += 1
        return Verdict.BUSY if self._in_progress > in_progress_max else Verdict.EXECUTE

    def remember(self, call_id: int, answer: bytes) -> None:
        """The encoded answer to a request that was admitted."""
        self._in_progress -= 1
        self._answers[call_id] = answer
        self._answers.move_to_end(call_id)
        self._size += len(answer)
        while len(self._answers) > self._limits.answers or self._size > self._limits.answer_bytes:
            oldest = next((known for known, held in self._answers.items() if held is not None), None)
            if oldest is None:
                return
            self._size -= len(self._answers.pop(oldest) or b"")
            self._forgotten = max(self._forgotten, oldest)

    def answer(self, call_id: int) -> bytes:
        """The remembered answer, for `REPEAT`."""
        return self._answers[call_id] or b""
