"""Who a peer is: an Ed25519 key pair, and the node id made from its public half.

The node id is BLAKE2b-160 of the public key (`design: replication, Words`). It is the peer's Kademlia id, the
tie-break of the total order and the owner of its orders, so nobody can choose it freely or take another's.
"""

from __future__ import annotations

import hashlib
from typing import NewType, Protocol

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

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

    @property
    def secret_seed(self) -> bytes:
        """The 32 secret bytes, for the key file and for NaCl boxes. Never logged, never sent."""
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
