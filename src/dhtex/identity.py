"""Who a peer is: an Ed25519 key pair, and the node id made from its public half.

The node id is BLAKE2b-160 of the public key (`design: replication, Words`). It is the peer's Kademlia id, the
tie-break of the total order and the owner of its orders, so nobody can choose it freely or take another's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path
from typing import NewType, Protocol

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from dhtex.errors import KeyFileError

NodeId = NewType("NodeId", bytes)
"""20 bytes; compared as bytes, big end first."""

PublicKey = NewType("PublicKey", bytes)
"""32 bytes, Ed25519."""

NODE_ID_SIZE = 20
PUBLIC_KEY_SIZE = 32
SIGNATURE_SIZE = 64
SEED_SIZE = 32


def node_id_of(public_key: bytes) -> NodeId:
    """The 20-byte node id of a 32-byte Ed25519 public key."""
    return NodeId(hashlib.blake2b(public_key, digest_size=NODE_ID_SIZE).digest())


def short_id(node_id: bytes) -> str:
    """The first four bytes in hex, as people see them: `c0ffee12`."""
    return node_id[:4].hex()


class Signer(Protocol):
    """What replication needs of keys; `Identity` is the real one, the simulator brings a cheaper one."""

    @property
    def public_key(self) -> PublicKey:
        """Whose signatures these are, 32 bytes."""
        ...

    @property
    def node_id(self) -> NodeId:
        """BLAKE2b-160 of the public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """A 64-byte signature of *message*."""
        ...

    def verify(self, public_key: PublicKey, message: bytes, signature: bytes) -> bool:
        """True only when *signature* is that key's over exactly *message*. Never raises for any bytes."""
        ...


class Identity:
    """An Ed25519 key pair. Immutable; safe to share between peers of one process."""

    __slots__ = ("_key", "_verifiers", "node_id", "public_key")

    VERIFIERS_MAX = 1024  # parsed keys kept for speed; a group is far smaller

    def __init__(self, seed: bytes) -> None:
        """The identity of a 32-byte secret seed.

        Raises:
            ValueError: *seed* is not 32 bytes.
        """
        if len(seed) != SEED_SIZE:
            raise ValueError(f"an Ed25519 seed has {SEED_SIZE} bytes, this has {len(seed)}")
        self._key = SigningKey(seed)
        self._verifiers: dict[bytes, VerifyKey] = {}
        self.public_key = PublicKey(bytes(self._key.verify_key))
        self.node_id = node_id_of(self.public_key)

    def __repr__(self) -> str:
        return f"<Identity {short_id(self.node_id)}>"

    @classmethod
    def generate(cls) -> Identity:
        """A new identity from the system's random source."""
        return cls(bytes(SigningKey.generate()))

    @classmethod
    def load_or_create(cls, path: Path) -> Identity:
        """The identity kept in *path*, made there with mode 0600 when the file does not exist.

        Raises:
            KeyFileError: the file is not 64 hex digits, is readable by others, or cannot be read or written.
        """
        try:
            return cls._load(path)
        except FileNotFoundError:
            return cls._create(path)
        except OSError as error:
            raise KeyFileError(f"cannot read the key file {path}: {error.strerror}") from error

    @classmethod
    def _load(cls, path: Path) -> Identity:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(SEED_SIZE * 2 + 2)
        if os.name == "posix" and mode & 0o077:
            raise KeyFileError(f"others may read the key file {path}; make it private with: chmod 600 {path}")
        try:
            return cls(bytes.fromhex(text.decode("ascii").strip()))
        except ValueError as error:
            raise KeyFileError(
                f"{path} is not a dhtex key file (64 hex digits); "
                "restore it from a backup, or move it away for a new identity"
            ) from error

    @classmethod
    def _create(cls, path: Path) -> Identity:
        identity = cls.generate()
        partial = path.with_name(f"{path.name}.{os.getpid()}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Written beside and linked into place: a crash leaves no half key, and of two processes
            # that create at once the first to link wins and the other reads what it finds.
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(bytes(identity._key).hex().encode("ascii") + b"\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(partial, path)
            finally:
                partial.unlink()
        except FileExistsError:
            return cls._load(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise KeyFileError(f"cannot write the key file {path}: {error.strerror}") from error
        return identity

    @property
    def secret_seed(self) -> bytes:
        """The 32 secret bytes, for the NaCl boxes of `transport.secure`. Never logged, never sent."""
        return bytes(self._key)

    def sign(self, message: bytes) -> bytes:
        """A 64-byte Ed25519 signature of *message*."""
        return self._key.sign(message).signature

    def verify(self, public_key: PublicKey, message: bytes, signature: bytes) -> bool:
        """True only when *signature* is that key's over exactly *message*. Never raises for any bytes."""
        verifier = self._verifiers.get(public_key)
        try:
            if verifier is None:
                verifier = VerifyKey(public_key)
                if len(self._verifiers) >= self.VERIFIERS_MAX:
                    self._verifiers.clear()
                self._verifiers[public_key] = verifier
            verifier.verify(message, signature)
        except (BadSignatureError, ValueError, TypeError):
            return False
        return True
