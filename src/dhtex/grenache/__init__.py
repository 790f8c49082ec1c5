"""Serve and call Grenache HTTP services from asyncio, found through any Grape, the original's too.

async with GrenacheService("http://127.0.0.1:30001", "rpc_test", handler) as service: ...

async with GrenacheClient("http://127.0.0.1:30001") as client:
    answer = await client.request("rpc_test", {"hello": 1})
"""

from dhtex.grenache.client import GrenacheClient
from dhtex.grenache.errors import GrapeError, ServiceError, ServiceNotFound, ServiceUnreachable
from dhtex.grenache.link import Link
from dhtex.grenache.service import GrenacheService, Handler

__all__ = [
    "GrapeError",
    "GrenacheClient",
    "GrenacheService",
    "Handler",
    "Link",
    "ServiceError",
    "ServiceNotFound",
    "ServiceUnreachable",
]
