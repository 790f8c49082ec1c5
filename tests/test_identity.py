"""Node ids and signatures."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtex.identity import Identity, PublicKey, node_id_of, short_id


def test_node_id_is_blake2b_160_of_the_public_key() -> None:
    identity = Identity(bytes(range(32)))
    assert identity.node_id == hashlib.blake2b(identity.public_key, digest_size=20).digest()
    assert node_id_of(identity.public_key) == identity.node_id
    assert short_id(identity.node_id) == identity.node_id.hex()[:8]


def test_same_seed_same_identity_and_seeds_of_other_sizes_are_refused() -> None:
    assert Identity(bytes(32)).public_key == Identity(bytes(32)).public_key
    with pytest.raises(ValueError, match="32 bytes"):
        Identity(b"short")


def test_a_signature_is_for_one_key_and_one_message() -> None:
    ours, theirs = Identity.generate(), Identity.generate()
    signature = ours.sign(b"order")
    assert theirs.verify(ours.public_key, b"order", signature)
    assert not theirs.verify(ours.public_key, b"ordeR", signature)
    assert not theirs.verify(theirs.public_key, b"order", signature)


@given(key=st.binary(max_size=40), message=st.binary(max_size=8), signature=st.binary(max_size=70))
def test_verify_never_raises(key: bytes, message: bytes, signature: bytes) -> None:
    assert not Identity(bytes(32)).verify(PublicKey(key), message, signature)
