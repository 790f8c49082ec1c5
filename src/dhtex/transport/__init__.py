"""msgpack RPC over UDP between peers: boxed, bounded, coalesced. Carries bytes and does not know which."""

from dhtex.transport.address import Address
from dhtex.transport.channel import Channel, Handler
from dhtex.transport.endpoint import Endpoint
from dhtex.transport.greeter import HelloAnswer
from dhtex.transport.limits import DATAGRAM_BYTES, DATAGRAM_BYTES_MAX, MESSAGE_BYTES_MAX, Budget, Limits
from dhtex.transport.rpc import Method
from dhtex.transport.server import RpcHandler

__all__ = [
    "DATAGRAM_BYTES",
    "DATAGRAM_BYTES_MAX",
    "MESSAGE_BYTES_MAX",
    "Address",
    "Budget",
    "Channel",
    "Endpoint",
    "Handler",
    "HelloAnswer",
    "Limits",
    "Method",
    "RpcHandler",
]
