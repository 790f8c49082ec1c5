"""Cutting and putting together, and the bounds of what is kept meanwhile."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtex.errors import MalformedMessage
from dhtex.transport.codec import INT_MAX, Fragment, FrameEncoder
from dhtex.transport.fragments import PIECES_MAX, Reassembler, split
from dhtex.transport.limits import MESSAGE_BYTES_MAX, MESSAGE_LIFE, Limits

LIMITS = Limits(fragment_messages=3)


def reason_of(reassembler: Reassembler, fragment: Fragment, now: float = 0.0) -> str:
    with pytest.raises(MalformedMessage) as caught:
        reassembler.add(fragment, now)
    return caught.value.reason


@given(st.binary(min_size=1, max_size=5000), st.integers(256, 1000), st.randoms(use_true_random=False))
def test_pieces_in_any_order_with_repetitions_make_the_message_once(
    frame: bytes, room: int, rng: random.Random
) -> None:
    pieces = split(INT_MAX, frame, room)
    assert all(len(FrameEncoder().fragment(piece)) <= room for piece in pieces)
    arriving = pieces * 2
    rng.shuffle(arriving)
    reassembler = Reassembler(Limits())
    whole = [done for piece in arriving if (done := reassembler.add(piece, 0.0)) is not None]
    assert whole == [frame]
    assert reassembler.size == len(reassembler) == 0


def test_a_message_short_of_a_piece_is_given_up_after_its_life() -> None:
    reassembler = Reassembler(LIMITS)
    reassembler.add(Fragment(1, 0, 2, b"x"), 10.0)
    assert reassembler.deadline == 10.0 + MESSAGE_LIFE
    assert reassembler.expire(10.0 + MESSAGE_LIFE - 0.001) == 0
    assert reassembler.expire(10.0 + MESSAGE_LIFE) == 1
    assert (reassembler.size, len(reassembler)) == (0, 0)


def test_incomplete_messages_are_bounded_in_number() -> None:
    reassembler = Reassembler(LIMITS)
    for message in range(3):
        reassembler.add(Fragment(message, 0, 2, b"x"), 0.0)
    assert reason_of(reassembler, Fragment(3, 0, 2, b"x")) == "fragments"
    assert reassembler.add(Fragment(0, 1, 2, b"y"), 0.0) == b"xy"
    assert reassembler.add(Fragment(3, 0, 2, b"x"), 0.0) is None


def test_incomplete_messages_are_bounded_in_bytes() -> None:
    reassembler = Reassembler(Limits(fragment_bytes=MESSAGE_BYTES_MAX))
    for message in range(2):
        reassembler.add(Fragment(message, 0, 2, bytes(MESSAGE_BYTES_MAX // 2)), 0.0)
    assert reason_of(reassembler, Fragment(2, 0, 2, b"x")) == "fragments"
    assert reassembler.size == MESSAGE_BYTES_MAX


def test_a_message_longer_than_any_is_forgotten() -> None:
    reassembler = Reassembler(LIMITS)
    reassembler.add(Fragment(1, 0, 3, bytes(MESSAGE_BYTES_MAX)), 0.0)
    assert reason_of(reassembler, Fragment(1, 1, 3, b"x")) == "fragment"
    assert (reassembler.size, len(reassembler)) == (0, 0)


def test_contradictions_are_refused() -> None:
    reassembler = Reassembler(LIMITS)
    reassembler.add(Fragment(1, 0, 2, b"x"), 0.0)
    assert reason_of(reassembler, Fragment(1, 1, 3, b"y")) == "fragment"
    assert reason_of(reassembler, Fragment(2, 0, PIECES_MAX + 1, b"y")) == "fragment"
    assert reassembler.add(Fragment(1, 1, 2, b"y"), 0.0) == b"xy"


def test_a_repeated_piece_of_a_finished_message_costs_nothing() -> None:
    reassembler = Reassembler(LIMITS)
    assert reassembler.add(Fragment(1, 0, 1, b"x"), 0.0) == b"x"
    assert reassembler.add(Fragment(1, 0, 1, b"x"), 0.0) is None
    assert len(reassembler) == 0
