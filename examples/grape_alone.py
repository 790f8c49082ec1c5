"""A Grape alone, inside a program: announce a service, find it, store values that prove themselves."""

import asyncio

from dhtex.dht import Item
from dhtex.errors import RpcError
from dhtex.grape import Grape
from dhtex.identity import Identity


async def main() -> None:
    async with Grape() as grape:  # both ports from the system; nothing is left when the block ends
        print(f"DHT on {grape.dht_address}, HTTP API on http://{grape.http_address}")

        await grape.announce("price-feed", 1337)  # again at half its age, until unannounce
        print("price-feed:", await grape.lookup("price-feed"))
        await grape.unannounce("price-feed", 1337)
        print("price-feed:", await grape.lookup("price-feed"))

        key = await grape.put(Item.immutable("hello"))  # the key is the hash of the value
        found = await grape.get(key)
        print(key.hex(), "is", found.value if found else None)

        owner = Identity.generate()  # only who holds this can write the next version
        key = await grape.put(Item.signed_by(owner, "first", seq=1))
        await grape.put(Item.signed_by(owner, "second", seq=2), cas=1)
        found = await grape.get(key)
        print("version", found.seq if found else None, "is", found.value if found else None)
        try:
            await grape.put(Item.signed_by(owner, "late", seq=2))
        except RpcError as error:
            print("refused:", error)


asyncio.run(main())
