"""Stored items that prove themselves: immutable ones by their hash, mutable ones by a signature. Source: BEP
44.

A value travels and is stored bencoded, because those are the bytes that the key and the signature are made
of.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from dhtex.dht import bencode
from dhtex.errors import MalformedMessage, UsageError
from dhtex.identity import Signer

KEY_SIZE = 20
PUBLIC_KEY_SIZE = 32
SIGNATURE_SIZE = 64
SALT_SIZE_MAX = 64
VALUE_SIZE_MAX = 3_072
"""Largest bencoded value: 999 characters of three bytes each, and their length."""

SEQ_MIN = -(2**63)
SEQ_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Item:
    """A value with what proves that it belongs to its key.

    Attributes:
        v: the value, bencoded.
        k: the Ed25519 public key of a mutable item, 32 bytes; empty for an immutable one.
        salt: up to 64 bytes; several mutable items of one public key differ in it.
        seq: the version of a mutable item, 0 for an immutable one.
        sig: the signature of a mutable item, 64 bytes; empty for an immutable one.
    """

    v: bytes
    k: bytes = b""
    salt: bytes = b""
    seq: int = 0
    sig: bytes = b""

    @classmethod
    def immutable(cls, value: bencode.Value | str) -> Item:
        """An item named by the hash of its value.

        Args:
            value: bytes, an integer, a list or a dictionary with keys of bytes; a text is taken as UTF-8.
        Raises:
            UsageError: *value* is, or contains, something else, or is nested deeper than 32.
        """
        return cls(_encoded(value))

    @classmethod
    def signed_by(cls, signer: Signer, value: bencode.Value | str, *, seq: int, salt: bytes = b"") -> Item:
        """Version *seq* of the item that *signer* keeps under *salt*. Raises as `immutable`."""
        v = _encoded(value)
        return cls(v, signer.public_key, salt, seq, signer.sign(signed_bytes(v, seq, salt)))

    @property
    def value(self) -> bencode.Value:
        """The value: bytes, an integer, a list or a dictionary."""
        return bencode.decode(self.v)

    @property
    def is_mutable(self) -> bool:
        """Whether later versions can take its place."""
        return bool(self.k)

    @property
    def key(self) -> bytes:
        """SHA-1 of the bencoded value, or of the public key and the salt: 20 bytes."""
        named_by = self.k + self.salt if self.k else self.v
        return hashlib.sha1(named_by).digest()  # noqa: S324  # BEP 44 says SHA-1

    @property
    def to_sign(self) -> bytes:
        """The bytes that `sig` signs."""
        return signed_bytes(self.v, self.seq, self.salt)

    def check(self) -> None:
        """Prove the item: shapes, canonical encoding, signature.

        Raises:
            MalformedMessage: it does not prove itself; `reason` says where: `value`, `item`, `signature`.
        """
        if len(self.v) > VALUE_SIZE_MAX:
            raise MalformedMessage("value", f"{len(self.v)} bytes")
        bencode.decode(self.v)
        if not self.is_mutable:
            if self.salt or self.sig or self.seq:
                raise MalformedMessage("item", "an immutable item has no salt, seq or signature")
            return
        if (
            len(self.k) != PUBLIC_KEY_SIZE
            or len(self.sig) != SIGNATURE_SIZE
            or len(self.salt) > SALT_SIZE_MAX
            or not SEQ_MIN <= self.seq <= SEQ_MAX
        ):
            raise MalformedMessage("item", "a mutable item has k of 32, sig of 64, salt of at most 64")
        try:
            VerifyKey(self.k).verify(self.to_sign, self.sig)
        except (BadSignatureError, ValueError, TypeError) as error:
            raise MalformedMessage("signature") from error


def _encoded(value: bencode.Value | str) -> bytes:
    try:
        return bencode.encode(value.encode() if isinstance(value, str) else value)
    except ValueError as error:
        raise UsageError(f"the value cannot be an item: {error}") from error


def signed_bytes(v: bytes, seq: int, salt: bytes = b"") -> bytes:
    """What an owner signs: `4:salt<salt>3:seqi<seq>e1:v<value>`, the salt only when there is one."""
    prefix = b"4:salt%d:%b" % (len(salt), salt) if salt else b""
    return b"%b3:seqi%de1:v%b" % (prefix, seq, v)


def replaces(new: Item, held: Item | None) -> bool:
    """True when *new* is a later version of *held*, or nothing is held."""
    return held is None or (new.is_mutable and new.seq > held.seq)
