"""A participant in a market: identity, sockets, replica, journal and exchange behind one class."""

from dhtex.journal import Durability
from dhtex.peer.book import Book
from dhtex.peer.home import Home, default_data_dir
from dhtex.peer.locking import Held
from dhtex.peer.meeting import Founding
from dhtex.peer.node import Node
from dhtex.peer.orders import Order, Orders
from dhtex.peer.peer import Peer
from dhtex.peer.reports import (
    BookChange,
    Depth,
    GroupEvent,
    Level,
    OpenOrder,
    OrderStatus,
    Position,
    Result,
    Results,
    TradeReport,
)
from dhtex.peer.streams import Subscription

__all__ = [
    "Book",
    "BookChange",
    "Depth",
    "Durability",
    "Founding",
    "GroupEvent",
    "Held",
    "Home",
    "Level",
    "Node",
    "OpenOrder",
    "Order",
    "OrderStatus",
    "Orders",
    "Peer",
    "Position",
    "Result",
    "Results",
    "Subscription",
    "TradeReport",
    "default_data_dir",
]
