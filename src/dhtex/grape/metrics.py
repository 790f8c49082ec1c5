"""What a Grape tells its operator: `/metrics` for Prometheus, `/healthz` for whoever restarts it.

Nothing is counted twice: the numbers are read from the node when somebody asks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dhtex.dht import DhtNode
from dhtex.grape.api import Api
from dhtex.grape.server import Response


class GrapeCollector(Collector):
    """Reads one Grape's numbers."""

    def __init__(self, node: DhtNode, api: Api) -> None:
        self._node = node
        self._api = api

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        gauges = {
            "contacts": ("Nodes in the routing table", len(self._node.contacts)),
            "contacts_live": ("Nodes that answered last time", self._node.live_count),
            "announcements": ("Announcements kept", self._node.announcement_count),
            "items": ("Items kept", self._node.item_count),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"dhtex_grape_{name}", text, value=value)
        datagrams = CounterMetricFamily(
            "dhtex_grape_datagrams", "What happened to datagrams, by fixed words", labels=["what"]
        )
        for what, count in sorted(self._node.counters.items()):
            datagrams.add_metric([what], count)
        yield datagrams
        requests = CounterMetricFamily(
            "dhtex_grape_requests", "Requests of Grenache clients, by method", labels=["method"]
        )
        for method, count in sorted(self._api.counts.items()):
            requests.add_metric([method.lower()], count)
        yield requests


class Pages:
    """The pages for operators. A registry of its own: several Grapes may live in one process."""

    def __init__(self, node: DhtNode) -> None:
        self._node = node
        self._registry = CollectorRegistry()

    def watch(self, api: Api) -> None:
        """Count the requests of *api* as well."""
        self._registry.register(GrapeCollector(self._node, api))

    def metrics(self) -> Response:
        """Prometheus' text format."""
        return Response(200, generate_latest(self._registry), CONTENT_TYPE_LATEST)

    def health(self) -> Response:
        """200 once the node found its network, or needs none; 503 before."""
        body = {
            "ready": self._node.is_ready,
            "dht": self._node.dht_address,
            "id": self._node.node_id.hex(),
            "contacts": self._node.live_count,
        }
        status = 200 if self._node.is_ready else 503
        return Response(status, json.dumps(body).encode(), "application/json")
