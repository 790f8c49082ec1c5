"""How others reach a peer: JSON over HTTP, a WebSocket of what happens, metrics and health."""

from dhtex.gateway.gateway import Gateway

__all__ = ["Gateway"]
