"""Items of BEP 44: its own test vectors, and how long an item lives."""

from __future__ import annotations

import pytest

from dht.test_failures import eventually
from dhtex.dht import DhtNode, Item
from dhtex.dht.methods import LIFETIME_S_MAX
from dhtex.dht.stores import Stored
from dhtex.errors import MalformedMessage, RpcError
from dhtex.identity import Identity

OWNER = Identity(bytes(31) + b"\x05")
HELLO = b"12:Hello World!"
PUBLIC_KEY = bytes.fromhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548")


@pytest.mark.parametrize(
    ("salt", "to_sign", "key", "sig"),
    [
        (
            b"",
            b"3:seqi1e1:v12:Hello World!",
            "4a533d47ec9c7d95b1ad75f576cffc641853b750",
            (
                "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff"
                "1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01"
            ),
        ),
        (
            b"foobar",
            b"4:salt6:foobar3:seqi1e1:v12:Hello World!",
            "411eba73b6f087ca51a3795d9c8c938d365e32c1",
            (
                "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d"
                "df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08"
            ),
        ),
    ],
)
def test_mutable_items_as_in_the_test_vectors(salt: bytes, to_sign: bytes, key: str, sig: str) -> None:
    item = Item(HELLO, PUBLIC_KEY, salt, 1, bytes.fromhex(sig))
    item.check()
    assert item.to_sign == to_sign
    assert item.key.hex() == key
    for forged in (
        Item(HELLO, PUBLIC_KEY, salt, 2, item.sig),
        Item(b"12:Hello world!", PUBLIC_KEY, salt, 1, item.sig),
        Item(HELLO, PUBLIC_KEY, salt + b"x", 1, item.sig),
        Item(HELLO, OWNER.public_key, salt, 1, item.sig),
    ):
        with pytest.raises(MalformedMessage, match="signature"):
            forged.check()


def test_an_immutable_item_as_in_the_test_vectors() -> None:
    item = Item.immutable("Hello World!")
    item.check()
    assert item.v == HELLO
    assert item.key.hex() == "e5f96f6f38320f0f33959cb4d3d656452117aadb"


def _held(node: DhtNode, item: Item) -> Stored:
    assert node._now.serving is not None
    held = node._now.serving.items.stored(item.key)
    assert held is not None
    return held


async def test_the_latest_version_put_again_lives_longer_everywhere() -> None:
    """BEP 44: the same version again resets its time. An owner keeps what it does not change alive so."""
    item = Item.signed_by(OWNER, "unchanged", seq=1)
    async with DhtNode() as node, DhtNode(bootstrap=[node.dht_address]) as other:
        await other.ready()
        assert await other.put(item, life_s=60) == 2
        for putter in (node, other):
            with pytest.raises(RpcError, match="302"):
                await putter.put(item)
            for keeper in (node, other):
                assert _held(keeper, item).life_s(keeper._now.network.now_s) > LIFETIME_S_MAX - 60


async def test_passing_an_item_on_does_not_make_it_live_longer() -> None:
    """A node that has it alone gives it, when it is read, to the others with what is left of its life."""
    item = Item.signed_by(OWNER, "passing", seq=1)
    async with DhtNode() as node, DhtNode(bootstrap=[node.dht_address]) as other:
        await other.ready()
        assert node._now.serving is not None
        node._now.serving.put(item, None, 60, node._now.network.now_s)
        assert await node.get(item.key) == item
        await eventually(lambda: other.item_count)
        assert _held(other, item).life_s(other._now.network.now_s) <= 60
