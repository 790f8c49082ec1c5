"""Look-ups in networks of 1,000 and 10,000 nodes, with and without dead contacts: table and plot for the docs.

    python benchmarks/dht_size.py                       # prints the table
    python benchmarks/dht_size.py --write docs/explanation   # writes dht-size.md and, with matplotlib, dht-size.svg

The real protocol, routing table and look-up run in virtual time (`dhtex.dht.virtual`). A look-up starts at a random
node, for a random key, and is right when it ends in exactly the k closest living nodes.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from dhtex.dht.virtual import VirtualLoop, VirtualNetwork

SIZES = (100, 300, 1_000, 3_000, 10_000)
TABLE_SIZES = (1_000, 10_000)
DEAD_SHARES = (0.0, 0.3)


@dataclass(frozen=True)
class Row:
    """What look-ups in one network took."""

    nodes: int
    dead_share: float
    lookups: int
    right: int
    hops_mean: float
    hops_max: int
    queries_mean: float
    seconds_median: float
    seconds_p99: float


async def _measure(nodes: int, dead_share: float, lookups: int, seed: int) -> Row:
    network = VirtualNetwork(nodes, seed=seed, dead_share=dead_share)
    loop = asyncio.get_running_loop()
    hops: list[int] = []
    queries: list[int] = []
    seconds: list[float] = []
    right = 0
    for _ in range(lookups):
        key = network.random.randbytes(20)
        asker_contact = network.random.choice(network.live)
        asker = network.node(asker_contact)
        started_s = loop.time()
        crawl = asker.crawl("find_node", key)
        found = await crawl.done
        seconds.append(loop.time() - started_s)
        hops.append(crawl.shortlist.hops)
        queries.append(crawl.shortlist.queries)
        # The asker does not ask itself; everybody else among the closest must be there.
        want = [contact for contact in network.closest(key) if contact != asker_contact]
        right += found[: len(want)] == want
    return Row(
        nodes,
        dead_share,
        lookups,
        right,
        statistics.mean(hops),
        max(hops),
        statistics.mean(queries),
        statistics.median(seconds),
        statistics.quantiles(seconds, n=100)[98],
    )


def measure(nodes: int, dead_share: float, lookups: int, seed: int = 1) -> Row:
    """One network in a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_measure(nodes, dead_share, lookups, seed))


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| nodes | dead | look-ups | true k closest | hops (max) | log2 n | requests | time, median | p99 |",
        "| ----: | ---: | -------: | -------------: | ---------: | -----: | -------: | -----------: | --: |",
    ]
    lines += [
        f"| {row.nodes:,} | {row.dead_share:.0%} | {row.lookups:,} | {row.right / row.lookups:.2%} "
        f"| {row.hops_mean:.2f} ({row.hops_max}) | {math.log2(row.nodes):.1f} | {row.queries_mean:.1f} "
        f"| {row.seconds_median * 1000:.0f} ms | {row.seconds_p99 * 1000:.0f} ms |"
        for row in rows
    ]
    return "\n".join(lines)


def plot(rows: list[Row], path: Path) -> None:
    """Hops and requests by network size."""
    import matplotlib  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415  # of the docs group

    matplotlib.use("svg")
    from matplotlib import pyplot  # noqa: PLC0415  # as above

    figure, (hops, requests) = pyplot.subplots(1, 2, figsize=(9, 3.5))
    for dead_share in DEAD_SHARES:
        chosen = [row for row in rows if row.dead_share == dead_share]
        sizes = [row.nodes for row in chosen]
        label = f"{dead_share:.0%} dead"
        hops.plot(sizes, [row.hops_mean for row in chosen], marker="o", label=label)
        requests.plot(sizes, [row.queries_mean for row in chosen], marker="o", label=label)
    hops.plot(SIZES, [math.log2(size) for size in SIZES], linestyle=":", label="log2 n")
    hops.set_ylabel("hops, mean")
    requests.set_ylabel("requests, mean")
    for axes in (hops, requests):
        axes.set_xscale("log")
        axes.set_xlabel("nodes")
        axes.set_ylim(bottom=0)
        axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lookups", type=int, default=1_000, help="look-ups in each network")
    parser.add_argument("--write", type=Path, help="folder for dht-size.md and dht-size.svg")
    options = parser.parse_args()
    sizes = SIZES if options.write else TABLE_SIZES
    rows = [measure(nodes, dead, options.lookups) for dead in DEAD_SHARES for nodes in sizes]
    text = table([row for row in rows if row.nodes in TABLE_SIZES])
    print(text)
    if options.write:
        (options.write / "dht-size.md").write_text(
            "# Look-ups by size of the network\n\nWritten by `python benchmarks/dht_size.py --write docs/explanation`: "
            "virtual time, one way 5 to 50 ms,\nk = 20, alpha = 8. Kademlia's bound is log2 n hops; buckets of 20 "
            "contacts each save about four of them.\n\n"
            f"{text}\n\n![hops and requests by size](dht-size.svg)\n"
        )
        plot(rows, options.write / "dht-size.svg")


if __name__ == "__main__":
    main()
