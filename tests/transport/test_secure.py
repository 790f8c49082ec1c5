"""Boxes: who can open what, and what a box is bound to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtex.errors import MalformedMessage
from dhtex.identity import Identity, PublicKey
from dhtex.transport.secure import NONCE_SIZE, Boxes, KeyRing
from transport.support import ALICE, BOB, CAROL, GROUP

TO_BOB = Boxes(KeyRing(ALICE), GROUP, BOB.public_key)
TO_ALICE = Boxes(KeyRing(BOB), GROUP, ALICE.public_key)
SEALED = TO_BOB.seal(5, b"plaintext")


def reason_of(boxes: Boxes, sealed: bytes) -> str:
    with pytest.raises(MalformedMessage) as caught:
        boxes.open(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:])
    return caught.value.reason


def test_the_other_side_opens_what_this_side_sealed() -> None:
    assert TO_ALICE.open(SEALED[:NONCE_SIZE], SEALED[NONCE_SIZE:]) == b"plaintext"
    back = TO_ALICE.seal(1, b"")
    assert TO_BOB.open(back[:NONCE_SIZE], back[NONCE_SIZE:]) == b""


def test_the_number_is_readable_and_the_rest_of_the_nonce_random() -> None:
    again = TO_BOB.seal(5, b"plaintext")
    assert SEALED[:8] == again[:8] == (5).to_bytes(8, "big")
    assert SEALED[8:24] != again[8:24]


def test_a_third_opens_nothing() -> None:
    assert reason_of(Boxes(KeyRing(CAROL), GROUP, ALICE.public_key), SEALED) == "box"


def test_a_box_sent_back_to_its_author_does_not_pass_for_the_others() -> None:
    assert reason_of(TO_BOB, SEALED) == "context"


def test_a_box_does_not_pass_in_another_group() -> None:
    assert reason_of(Boxes(KeyRing(BOB), b"h" * 20, ALICE.public_key), SEALED) == "context"


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_no_changed_byte_opens(position: int, change: int) -> None:
    forged = bytearray(SEALED)
    forged[position] ^= change
    assert reason_of(TO_ALICE, bytes(forged)) == "box"


@pytest.mark.parametrize("length", range(NONCE_SIZE + 16 + 16 + 9))
def test_no_truncated_box_opens(length: int) -> None:
    assert reason_of(TO_ALICE, SEALED[:length]) == "box"


@pytest.mark.parametrize(
    "public_key",
    [b"", b"x" * 31, bytes(32), b"\x01" + bytes(31), b"\xff" * 32, b"\xec" + b"\xff" * 30 + b"\x7f"],
    ids=["empty", "short", "low order", "neutral", "not canonical", "order two"],
)
def test_what_nobody_can_hold_is_no_key(public_key: bytes) -> None:
    with pytest.raises(MalformedMessage) as caught:
        KeyRing(ALICE).shared_with(PublicKey(public_key))
    assert caught.value.reason == "key"


def test_the_cache_of_shared_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeyRing, "KEYS_MAX", 3)
    ring = KeyRing(ALICE)
    first = ring.shared_with(BOB.public_key)
    for seed in range(5):
        ring.shared_with(Identity(bytes([seed]) * 32).public_key)
        ring.shared_with(BOB.public_key)
    assert len(ring) == 3
    assert ring.shared_with(BOB.public_key) == first
