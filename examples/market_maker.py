"""A market maker: quotes both sides, and quotes anew whenever somebody has traded with it."""

import asyncio
from decimal import Decimal

from dhtex import CancelAll, Grape, Peer, Place, Side

SPREAD = Decimal("0.50")
AMOUNT = "10"


async def quote(maker: Peer, middle: Decimal) -> None:
    """Replace both quotes in one run: nobody can trade between the cancel and the new quotes."""
    spec = maker.spec
    orders = await maker.send_all(
        [
            CancelAll(),
            Place(Side.BUY, spec.quantity(AMOUNT), spec.price(middle - SPREAD / 2), post_only=True),
            Place(Side.SELL, spec.quantity(AMOUNT), spec.price(middle + SPREAD / 2), post_only=True),
        ]
    )
    await orders.final()


async def make_market(maker: Peer, middle: Decimal, rounds: int) -> None:
    """Quote around *middle*, and lean with every trade in the direction of whoever traded."""
    async with maker.trades() as trades:
        await quote(maker, middle)
        async for trade in trades:
            bought = trade.aggressor is Side.BUY
            middle += SPREAD / 5 if bought else -SPREAD / 5
            print(f"{'lifted' if bought else 'hit'} at {trade.price}; new middle {middle}")
            rounds -= 1
            if not rounds:
                return
            await quote(maker, middle)


async def main() -> None:
    async with (
        Grape(dht_port=0, http_port=None) as grape,
        Peer("TOY-USD", bootstrap=[grape.dht_address]) as maker,
        Peer("TOY-USD", bootstrap=[grape.dht_address]) as client,
        client.book_changes() as changes,
    ):
        market = asyncio.create_task(make_market(maker, Decimal(100), rounds=4))
        for place in (client.buy, client.buy, client.sell, client.buy):
            while not (client.book.depth(1).bids and client.book.depth(1).asks):
                await anext(changes)  # until both sides are quoted
            result = await (await place("2")).final()
            print(f"client: {result.filled} at {result.trades[0].price}")
        await market


asyncio.run(main())
