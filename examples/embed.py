"""Embed a Grape and two peers in one asyncio program: an ask, a bid, and what both came to."""

import asyncio

from dhtex import Grape, Peer


async def main() -> None:
    async with (
        Grape(dht_port=0, http_port=None) as grape,
        Peer("BTC-USD", bootstrap=[grape.dht_address]) as alice,
        Peer("BTC-USD", bootstrap=[grape.dht_address]) as bob,
    ):
        ask = await alice.sell("0.5", price="50000")  # returns once it is durable at Alice's
        print("ask ", await ask.final())  # and this once it is final, for everybody

        bid = await bob.buy("0.2", price="50000")
        result = await bid.final()
        for trade in result.trades:
            print(f"bob bought {trade.quantity} at {trade.price} from {trade.maker}")

        await alice.reached(result.position)
        print("alice's book:", alice.book.depth(5))
        print("bob's book:  ", bob.book.depth(5))
        print("one history: ", alice.position() == bob.position())


asyncio.run(main())
