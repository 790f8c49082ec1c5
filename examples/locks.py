"""One peer at a time: three of them settle in turns, and one that hangs in the middle blocks nobody for long."""

import asyncio

from dhtex import Grape, LockLost, Peer


class Bank:
    """What the lock protects. It takes no orders from a holder that has been replaced."""

    def __init__(self) -> None:
        self.newest = 0

    def settle(self, who: str, token: int) -> None:
        if token < self.newest:
            print(f"{who} comes too late: the bank has seen a later holder")
        else:
            self.newest = token
            print(f"{who} settles")


async def main() -> None:
    bank = Bank()
    async with (
        Grape(dht_port=0, http_port=None) as grape,
        Peer("BTC-USD", bootstrap=[grape.dht_address]) as alice,
        Peer("BTC-USD", bootstrap=[grape.dht_address]) as bob,
        Peer("BTC-USD", bootstrap=[grape.dht_address]) as carol,
    ):

        async def settle(name: str, peer: Peer) -> None:
            async with peer.lock("settlement", lease_s=10) as held:
                bank.settle(name, held.token)
                await held.renew()  # for work that takes longer than was thought

        await asyncio.gather(settle("alice", alice), settle("bob", bob), settle("carol", carol))

        async with alice.lock("settlement", lease_s=0.5) as held:  # and now she hangs
            await settle("bob", bob)
            bank.settle("alice", held.token)
            try:
                await held.renew()
            except LockLost as error:
                print("alice:", error)


asyncio.run(main())
