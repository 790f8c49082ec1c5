"""`/metrics` for Prometheus. Nothing is counted twice: the numbers are read from the peer when somebody asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from dhtex.gateway.feed import Feed
from dhtex.peer import Peer


class PeerCollector(Collector):
    """Reads one peer's numbers.

    Attributes:
        requests: answers given, by method, path and status.
    """

    def __init__(self, peer: Peer, feed: Feed) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self._peer = peer
        self._feed = feed

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        peer, feed = self._peer, self._feed
        info = {"market": peer.spec.symbol, "node": peer.node_id.hex()}
        yield InfoMetricFamily("dhtex_peer", "Which peer this is", value=info)
        gauges = {
            "position": ("Commands final here, the place in the total order", peer.position().number),
            "pending": ("Own commands not final yet", peer.pending_count),
            "members": ("Members of the view", len(peer.view.members) if peer.view else 0),
            "view": ("Number of the view", peer.view.number if peer.view else 0),
            "quorum": ("1 while a majority of the members is heard", int(peer.has_quorum)),
            "stream_readers": ("Clients that read the stream", len(feed)),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"dhtex_peer_{name}", text, value=value)
        role = GaugeMetricFamily("dhtex_peer_role", "1 for the role that the peer has", labels=["role"])
        for each in type(peer.role):
            role.add_metric([each.value], int(each is peer.role))
        yield role
        yield CounterMetricFamily(
            "dhtex_peer_trades", "Trades of the market since the gateway started", value=feed.trade_count
        )
        yield CounterMetricFamily(
            "dhtex_peer_stream_slow", "Readers closed because they fell behind", value=feed.slow_count
        )
        events = CounterMetricFamily(
            "dhtex_peer_network", "What happened to datagrams and messages, by fixed words", labels=["what"]
        )
        for what, count in sorted(peer.counters.items()):
            events.add_metric([what], count)
        yield events
        requests = CounterMetricFamily(
            "dhtex_peer_requests", "Requests to this API", labels=["method", "path", "status"]
        )
        for labels, count in sorted(self.requests.items()):
            requests.add_metric(labels, count)
        yield requests


def make_registry(collector: PeerCollector) -> CollectorRegistry:
    """A registry of its own: several peers may live in one process."""
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def page(registry: CollectorRegistry) -> bytes:
    """Prometheus' text format."""
    return generate_latest(registry)
