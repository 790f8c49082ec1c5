"""How others reach a peer: JSON over HTTP, a WebSocket of what happens, metrics and health; Grenache's RPC."""

from dhtex.gateway.gateway import Gateway
from dhtex.gateway.grenache import GrenacheGateway

__all__ = ["Gateway", "GrenacheGateway"]
