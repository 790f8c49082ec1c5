"""Key files: private, whole, never overwritten."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from dhtex.errors import KeyFileError
from dhtex.peer.keyfile import load_or_create


def test_key_file_is_private_and_gives_the_same_identity_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "identity.key"
    made = load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create(path).node_id == made.node_id
    assert list(path.parent.iterdir()) == [path], "no half-written file stays behind"


def test_a_key_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    load_or_create(path)
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_or_create(path)


@pytest.mark.parametrize("content", [b"", b"zz", b"00" * 31, b"00" * 33, b"\xff" * 64])
def test_a_damaged_key_file_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "identity.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="not a dhtex key file"):
        load_or_create(path)
    assert path.read_bytes() == content


def test_a_place_that_cannot_hold_a_key_gives_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(KeyFileError, match="cannot"):
        load_or_create(tmp_path / "file" / "identity.key")
