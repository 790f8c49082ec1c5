"""The outside of a datagram, and HELLO."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtex.errors import MalformedMessage
from dhtex.transport.datagram import (
    BOX_OVERHEAD,
    HEADER_SIZE,
    HELLO_ANSWER_SIZE,
    HELLO_SIZE,
    Datagram,
    Kind,
    decode_hello,
    decode_hello_answer,
    encode_hello,
    encode_hello_answer,
    header,
    parse,
)
from transport.support import ALICE, GROUP

COOKIE = b"c" * 16


def reason_of(datagram: bytes) -> str:
    with pytest.raises(MalformedMessage) as caught:
        parse(datagram)
    return caught.value.reason


@pytest.mark.parametrize("kind", list(Kind))
def test_a_header_comes_apart_as_it_was_put_together(kind: Kind) -> None:
    wire = header(kind, GROUP, ALICE.public_key)
    assert len(wire) == HEADER_SIZE == 54
    assert parse(wire + b"rest") == Datagram(kind, GROUP, ALICE.public_key, b"rest")


def test_what_is_not_ours_is_told_apart() -> None:
    good = header(Kind.BOX, GROUP, ALICE.public_key)
    assert reason_of(b"") == "short"
    assert reason_of(good[:-1]) == "short"
    assert reason_of(b"\xd7" + good[1:]) == "magic"
    assert reason_of(good[:1] + b"\x20" + good[2:]) == "version"
    assert reason_of(good[:1] + b"\x13" + good[2:]) == "kind"
    assert reason_of(good.ljust(8193, b"x")) == "oversize"
    assert parse(good.ljust(8192, b"x")).group_id == GROUP


def test_a_hello_and_its_answer() -> None:
    hello = encode_hello(GROUP, ALICE.public_key, COOKIE)
    assert len(hello) == HELLO_SIZE == 256
    assert decode_hello(parse(hello).body) == COOKIE
    answer = encode_hello_answer(GROUP, ALICE.public_key, COOKIE, 41)
    assert decode_hello_answer(parse(answer).body) == (COOKIE, 41)


def test_no_answer_is_longer_than_its_question() -> None:
    assert (
        len(encode_hello_answer(GROUP, ALICE.public_key, COOKIE, 2**63 - 1)) == HELLO_ANSWER_SIZE < HELLO_SIZE
    )


@pytest.mark.parametrize("change", [-1, 1])
def test_hellos_of_other_lengths_are_refused(change: int) -> None:
    question = parse(encode_hello(GROUP, ALICE.public_key, COOKIE)).body
    answer = parse(encode_hello_answer(GROUP, ALICE.public_key, COOKIE, 1)).body
    with pytest.raises(MalformedMessage):
        decode_hello((question + b"x")[: len(question) + change])
    with pytest.raises(MalformedMessage):
        decode_hello_answer((answer + b"x")[: len(answer) + change])


def test_a_view_number_beyond_63_bits_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        decode_hello_answer(COOKIE + b"\xff" * 8)


def test_the_overhead_of_a_box_is_what_the_reference_says() -> None:
    assert BOX_OVERHEAD == 54 + 24 + 16 + 16


@given(st.binary(max_size=400))
def test_any_bytes_parse_or_are_malformed(datagram: bytes) -> None:
    with suppress(MalformedMessage):
        parse(datagram)
