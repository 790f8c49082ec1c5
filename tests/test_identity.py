"""Key files, node ids and signatures."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtex.errors import KeyFileError
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


def test_key_file_is_private_and_gives_the_same_identity_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "identity.key"
    made = Identity.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Identity.load_or_create(path).node_id == made.node_id
    assert list(path.parent.iterdir()) == [path], "no half-written file stays behind"


def test_a_key_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    Identity.load_or_create(path)
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        Identity.load_or_create(path)


@pytest.mark.parametrize("content", [b"", b"zz", b"00" * 31, b"00" * 33, b"\xff" * 64])
def test_a_damaged_key_file_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "identity.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="not a dhtex key file"):
        Identity.load_or_create(path)
    assert path.read_bytes() == content


def test_a_place_that_cannot_hold_a_key_gives_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(KeyFileError, match="cannot"):
        Identity.load_or_create(tmp_path / "file" / "identity.key")
