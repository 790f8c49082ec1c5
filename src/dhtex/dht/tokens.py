"""Tokens: proof that somebody receives what is sent to its address, without remembering anybody (BEP 5).

A token is a keyed hash of the address and a secret that changes every five minutes; the one before still
counts. So a token lives five to ten minutes, costs the node no memory, and means nothing to any other node.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from dhtex.dht.face import Address
from dhtex.dht.wire import TOKEN_SIZE

ROTATE_S = 300.0
_SECRET_SIZE = 32


class Tokens:
    """Hands out and checks tokens; time is an argument."""

    def __init__(self, now_s: float) -> None:
        self._current = secrets.token_bytes(_SECRET_SIZE)
        self._previous = secrets.token_bytes(_SECRET_SIZE)
        self._rotated_s = now_s
        self._issued: dict[Address, bytes] = {}

    CACHE_MAX = 4096  # tokens of the current secret kept for speed; the hash gives the same again

    def issue(self, address: Address, now_s: float) -> bytes:
        """The token for *address*, 8 bytes."""
        self._maybe_rotate(now_s)
        token = self._issued.get(address)
        if token is None:
            if len(self._issued) >= self.CACHE_MAX:
                self._issued.clear()
            token = self._issued[address] = _token(self._current, address)
        return token

    def is_valid(self, token: bytes, address: Address, now_s: float) -> bool:
        """True when *token* was issued to exactly *address* under one of the last two secrets."""
        if len(token) != TOKEN_SIZE:
            return False
        current = self.issue(address, now_s)
        return hmac.compare_digest(token, current) or hmac.compare_digest(
            token, _token(self._previous, address)
        )

    def _maybe_rotate(self, now_s: float) -> None:
        age_s = now_s - self._rotated_s
        if age_s < ROTATE_S:
            return
        # After a long pause even the current secret is too old to honour.
        self._previous = self._current if age_s < 2 * ROTATE_S else secrets.token_bytes(_SECRET_SIZE)
        self._current = secrets.token_bytes(_SECRET_SIZE)
        self._rotated_s = now_s
        self._issued.clear()


def _token(secret: bytes, address: Address) -> bytes:
    host, port = address
    return hashlib.blake2b(f"{host} {port}".encode(), key=secret, digest_size=TOKEN_SIZE).digest()
