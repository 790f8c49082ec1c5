"""Calls and answers in virtual time: repetition, deadlines, at most once."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dhtex.errors import DhtexError, NotRunning, RpcError, RpcTimeout
from dhtex.transport.codec import Response
from dhtex.transport.limits import Limits
from dhtex.transport.rpc import RETRY_MAX, Answers, Calls, Verdict


class Outcomes:
    def __init__(self) -> None:
        self.seen: list[tuple[Any, DhtexError | None]] = []

    def __call__(self, result: Any, error: DhtexError | None) -> None:
        self.seen.append((result, error))


def started(outcome: Outcomes, *, deadline: float = 10.0, delay: float = 0.1) -> Calls:
    calls = Calls(random.Random(1))
    calls.start(1, b"frame", now=0.0, deadline=deadline, delay=delay, finish=outcome)
    return calls


def test_a_request_is_repeated_with_growing_jittered_pauses_until_its_deadline() -> None:
    outcome = Outcomes()
    calls = started(outcome)
    sent = [0.0]
    while (moment := calls.deadline) is not None:
        if calls.take_due(moment):
            sent.append(moment)
    pauses = [late - early for early, late in pairwise(sent)]
    expected = 0.1
    for pause in pauses:
        assert 0.75 * expected <= pause <= 1.25 * expected
        expected = min(2 * expected, RETRY_MAX)
    assert len(pauses) >= 6
    assert len({round(pause / 0.1, 6) % 1 for pause in pauses}) > 1
    ((result, error),) = outcome.seen
    assert result is None
    assert isinstance(error, RpcTimeout)


def test_the_first_answer_counts_and_only_it() -> None:
    outcome = Outcomes()
    calls = started(outcome)
    assert calls.answered(Response(1, None, "first"))
    assert not calls.answered(Response(1, None, "second"))
    assert not calls.answered(Response(2, None, "invented"))
    assert outcome.seen == [("first", None)]
    assert calls.deadline is None


def test_a_refusal_is_the_outcome() -> None:
    outcome = Outcomes()
    refusal = RpcError("busy", "later")
    started(outcome).answered(Response(1, refusal, None))
    assert outcome.seen == [(None, refusal)]


def test_a_cancelled_call_leaves_no_trace() -> None:
    outcome = Outcomes()
    calls = started(outcome)
    calls.cancel(1)
    assert (len(calls), calls.deadline, calls.take_due(100.0)) == (0, None, [])
    assert not calls.answered(Response(1, None, "late"))
    assert outcome.seen == []


def test_failing_ends_every_call_with_the_error() -> None:
    outcome = Outcomes()
    calls = started(outcome)
    calls.start(2, b"", now=0.0, deadline=1.0, delay=1.0, finish=outcome)
    error = NotRunning("closed")
    calls.fail(error)
    assert outcome.seen == [(None, error)] * 2
    assert len(calls) == 0


def test_a_repeated_request_is_answered_from_memory() -> None:
    answers = Answers(Limits())
    assert answers.admit(1, 10) is Verdict.EXECUTE
    assert answers.admit(1, 10) is Verdict.IN_PROGRESS
    answers.remember(1, b"answer")
    assert answers.admit(1, 10) is Verdict.REPEAT
    assert answers.answer(1) == b"answer"


def test_a_refusal_for_too_much_in_progress_is_remembered_too() -> None:
    answers = Answers(Limits())
    assert [answers.admit(call_id, 2) for call_id in (1, 2, 3)] == [
        Verdict.EXECUTE,
        Verdict.EXECUTE,
        Verdict.BUSY,
    ]
    answers.remember(3, b"busy")
    answers.remember(1, b"done")
    assert answers.admit(3, 2) is Verdict.REPEAT
    assert answers.admit(4, 2) is Verdict.EXECUTE


def test_the_memory_is_bounded_in_bytes() -> None:
    answers = Answers(Limits(answer_bytes=100))
    for call_id in range(50):
        answers.admit(call_id, 10)
        answers.remember(call_id, b"x" * 10)
        assert answers.size <= 100
    assert len(answers) == 10
    assert answers.admit(0, 10) is Verdict.FORGOTTEN
    assert answers.admit(49, 10) is Verdict.REPEAT


@given(st.lists(st.tuples(st.integers(0, 1500), st.booleans()), max_size=3000))
def test_whatever_is_repeated_and_forgotten_nothing_runs_twice(steps: list[tuple[int, bool]]) -> None:
    answers = Answers(Limits(answers=257))
    executed: set[int] = set()
    open_calls: list[int] = []
    for call_id, finish in steps:
        if answers.admit(call_id, 64) is Verdict.EXECUTE:
            assert call_id not in executed
            executed.add(call_id)
            open_calls.append(call_id)
        elif call_id not in executed:
            break  # refused as busy or forgotten: nothing of it is checked further here
        if finish and open_calls:
            answers.remember(open_calls.pop(0), b"")
        assert len(answers) <= 257 + 64
