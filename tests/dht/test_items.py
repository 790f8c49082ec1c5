"""Items of BEP 44: its own test vectors, and how long an item lives."""

from __future__ import annotations

from dataclasses import astuple

import pytest

from dht.rogue import Rogue
from dht.test_failures import address_of, eventually
from dhtex.dht import DhtNode, Item, wire
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


async def test_reading_an_item_does_not_make_it_live_longer() -> None:
    item = Item.signed_by(OWNER, "read", seq=1)
    async with DhtNode() as node, DhtNode(bootstrap=[node.dht_address]) as other:
        await other.ready()
        assert await other.put(item, life_s=60) == 2
        for reader in (node, other):
            assert await reader.get(item.key) == item
            assert _held(reader, item).life_s(reader._now.network.now_s) <= 60


async def test_who_keeps_an_item_checks_its_version_itself() -> None:
    """A writer looks before it writes, but another may have written between; and a liar does not look."""
    async with DhtNode() as node, await Rogue.open() as writer:
        token = await writer.token_of(address_of(node))
        sent = 0

        async def put(item: Item, cas: int | None, transmissions: int = 1) -> str | None:
            nonlocal sent
            sent += 1
            codes: set[str | None] = set()
            for n in range(transmissions):
                message_id = bytes([sent]) * wire.CALL_ID_SIZE + bytes([n])
                fields = (*astuple(item), cas, 60)
                request = wire.encode_request(message_id, "put_item", b"", token, fields, pad=False)
                writer.send(request, address_of(node))
                codes.add(getattr(wire.decode(await writer.next()), "code", None))
            (code,) = codes
            return code

        versions = [Item.signed_by(OWNER, f"version {seq}", seq=seq) for seq in range(5)]
        # Sent again because the answer was lost, it is answered the same, not refused for its own first copy.
        assert await put(versions[2], None, transmissions=3) is None
        assert await put(versions[1], None) == "302"
        assert await put(versions[2], None) == "302"
        assert await put(Item.signed_by(OWNER, "another", seq=2), None) == "302"
        assert await put(versions[3], 1) == "301"
        assert await put(versions[3], 3) == "301"
        assert await node.get(versions[2].key) == versions[2]
        assert await put(versions[3], 2) is None
        assert await put(Item.signed_by(OWNER, "salted", seq=1, salt=b"s"), None) is None
        assert await node.get(versions[3].key) == versions[3]
