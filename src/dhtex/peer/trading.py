"""What a peer does for its owner: orders as one says them, turned into commands and handed over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from dhtex.errors import Busy, OrderError
from dhtex.identity import NodeId
from dhtex.matching import Cancel, Command, Kind, MarketSpec, OrderId, Place, Side, TimeInForce
from dhtex.matching.market import Number
from dhtex.peer.orders import Order, Orders


class Trading(ABC):
    """Buy, sell, cancel, and any other command, one by one or in runs; `Peer` is the one who submits.

    Attributes:
        spec: the market.
    """

    spec: MarketSpec

    @property
    @abstractmethod
    def node_id(self) -> NodeId:
        """20 bytes; the owner of this peer's orders."""

    @abstractmethod
    def submit_all(self, commands: Sequence[Command]) -> Orders:
        """`send_all` without waiting. Raises as `submit`."""

    @abstractmethod
    async def _room(self) -> None:
        """Returns when there may be room for more after `Busy`."""

    async def buy(
        self,
        quantity: Number,
        price: Number | None = None,
        *,
        time_in_force: TimeInForce = TimeInForce.GTC,
        post_only: bool = False,
        account: str = "",
        tag: str = "",
    ) -> Order:
        """Buy *quantity* at *price* or better, or at any price without one; returns once durable here.

        Numbers are text, `Decimal` or `int`, never `float`.

        Raises:
            OrderError: a number that the market cannot take; nothing was sent.
            JournalFull: the disk has no room; nothing was sent.
            NotRunning: outside `async with`, or after the peer has left.
        """
        return await self._place(Side.BUY, quantity, price, time_in_force, post_only, account, tag)

    async def sell(
        self,
        quantity: Number,
        price: Number | None = None,
        *,
        time_in_force: TimeInForce = TimeInForce.GTC,
        post_only: bool = False,
        account: str = "",
        tag: str = "",
    ) -> Order:
        """Sell; otherwise as `buy`."""
        return await self._place(Side.SELL, quantity, price, time_in_force, post_only, account, tag)

    async def _place(
        self,
        side: Side,
        quantity: Number,
        price: Number | None,
        time_in_force: TimeInForce,
        post_only: bool,
        account: str,
        tag: str,
    ) -> Order:
        command = Place(
            side=side,
            quantity=self.spec.quantity(quantity),
            price=None if price is None else self.spec.price(price),
            kind=Kind.MARKET if price is None else Kind.LIMIT,
            time_in_force=time_in_force,
            post_only=post_only,
            account=account,
            tag=tag,
        )
        return await self.send(command)

    async def cancel(self, order: Order | OrderId) -> Order:
        """Cancel an open order of this peer; the answer to "was it in time" is the result's status.

        Raises:
            OrderError: the order is another node's, or no order at all.
            Others: as `buy`.
        """
        order_id = order.id if isinstance(order, Order) else order
        if type(order_id) is not OrderId:
            raise OrderError(f"{order!r} is no order; cancel what `buy` or `sell` gave, or its id")
        if order_id.node_id != self.node_id:
            raise OrderError(f"{order_id} is not this peer's order; only its owner can cancel it")
        return await self.send(Cancel(order_id))

    async def send(self, command: Command) -> Order:
        """Submit any command; waits while too much is pending, and returns once it is durable here."""
        order = Order(await self._submit_when_possible([command]))
        await order.accepted()
        return order

    async def send_all(self, commands: Sequence[Command]) -> Orders:
        """Submit commands as one run: consecutive ids, one entry, far cheaper than one by one.

        Args:
            commands: 1 to 1,024, and at most 48 KiB as they travel.
        """
        orders = await self._submit_when_possible(commands)
        await orders.accepted()
        return orders

    def submit(self, command: Command) -> Order:
        """Submit without waiting; `accepted()` and `final()` of the handle do.

        Raises:
            Busy: too much is pending; wait for some of it.
            Others: as `buy`.
        """
        return Order(self.submit_all([command]))

    async def _submit_when_possible(self, commands: Sequence[Command]) -> Orders:
        while True:
            try:
                return self.submit_all(commands)
            except Busy:
                await self._room()
