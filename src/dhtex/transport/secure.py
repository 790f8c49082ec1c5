"""Who said it: one NaCl box per datagram, between the Ed25519 identities of two peers.

The box (X25519, XSalsa20, Poly1305) proves that one of the two made the datagram and that nobody changed it.
It does not say which of the two, nor in which group, and the same shared key serves both directions. So every
plaintext starts with 16 bytes that name the group, the sender and the receiver: a datagram sent back to its
author, or carried into another market that the two share, does not fit and is dropped.

The 24-byte nonce is the 8-byte sequence number of the datagram, big end first, then 16 random bytes. The
random part alone makes it unique, also when a wall clock was set back; the number is what `replay` works
with, and the box protects it because a changed nonce does not open.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable

from nacl.bindings import (
    crypto_box_afternm,
    crypto_box_beforenm,
    crypto_box_open_afternm,
    crypto_sign_ed25519_pk_to_curve25519,
)
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey

from dhtex.errors import MalformedMessage
from dhtex.identity import Identity, PublicKey

NONCE_SIZE = 24
TAG_SIZE = 16
CONTEXT_SIZE = 16
SEQUENCE_SIZE = 8

RandomBytes = Callable[[int], bytes]


def context(group_id: bytes, sender: bytes, receiver: bytes) -> bytes:
    """The 16 bytes that bind a plaintext to its group and its direction."""
    digest = hashlib.blake2b(
        group_id + sender + receiver, digest_size=CONTEXT_SIZE, person=b"dhtex datagram 1"
    )
    return digest.digest()


class KeyRing:
    """Keys shared between one identity and others. An agreement costs about 70 µs, so the latest are kept."""

    KEYS_MAX = 1024

    def __init__(self, identity: Identity) -> None:
        self.public_key = identity.public_key
        self._private = bytes(SigningKey(identity.secret_seed).to_curve25519_private_key())
        self._shared: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._shared)

    def shared_with(self, public_key: PublicKey) -> bytes:
        """The 32-byte key of the boxes between this identity and *public_key*.

        Raises:
            MalformedMessage: *public_key* is not a key anybody can hold (`key`).
        """
        shared = self._shared.get(public_key)
        if shared is not None:
            self._shared.move_to_end(public_key)
            return shared
        try:
            shared = crypto_box_beforenm(crypto_sign_ed25519_pk_to_curve25519(public_key), self._private)
        except (CryptoError, ValueError, TypeError):
            raise MalformedMessage("key", "not an Ed25519 public key") from None
        if len(self._shared) >= self.KEYS_MAX:
            self._shared.popitem(last=False)
        self._shared[public_key] = shared
        return shared


class Boxes:
    """Seals and opens the datagrams between this identity and one other in one group."""

    __slots__ = ("_inward", "_key", "_outward", "_random")

    def __init__(
        self, keys: KeyRing, group_id: bytes, other: PublicKey, random_bytes: RandomBytes = os.urandom
    ) -> None:
        """Raises MalformedMessage: *other* is not a key anybody can hold (`key`)."""
        self._key = keys.shared_with(other)
        self._outward = context(group_id, keys.public_key, other)
        self._inward = context(group_id, other, keys.public_key)
        self._random = random_bytes

    def seal(self, sequence: int, plaintext: bytes) -> bytes:
        """Nonce, tag and ciphertext."""
        nonce = sequence.to_bytes(SEQUENCE_SIZE, "big") + self._random(NONCE_SIZE - SEQUENCE_SIZE)
        return nonce + crypto_box_afternm(self._outward + plaintext, nonce, self._key)

    def open(self, nonce: bytes, box: bytes) -> bytes:
        """The plaintext without its context.

        Raises:
            MalformedMessage: it was not made with the shared key (`box`), or for another group or reader
                (`context`).
        """
        try:
            plaintext = crypto_box_open_afternm(box, nonce, self._key)
        except (CryptoError, ValueError):
            raise MalformedMessage("box", "does not open") from None
        if plaintext[:CONTEXT_SIZE] != self._inward:
            raise MalformedMessage("context", "made for another group or reader")
        return plaintext[CONTEXT_SIZE:]
