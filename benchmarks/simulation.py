"""How fast virtual time passes: simulated seconds per second of one core, for a five-member group at default timings.

    python benchmarks/simulation.py [--seconds 120] [--commands 1]

Nothing fails here: the group forms, every second one of its members in turn submits, and every check is on. Processor
time is counted, so other programs disturb little; the best of several runs is shown beside the middle one.
"""

from __future__ import annotations

import argparse
import statistics
import time

from dhtex.replication import ReplicaConfig
from dhtex.simulation import Plan, World
from dhtex.simulation.plan import MILLISECOND, SECOND, DiskPlan, NetworkPlan, NodePlan, Submit

MEMBERS = 5
RUNS = 5


def plan(seconds: int, commands: int) -> Plan:
    """Five members on a metropolitan network, with ordinary disks."""
    return Plan(
        seed=1,
        nodes=tuple(NodePlan(name="ABCDE"[index], boot_at=index * MILLISECOND) for index in range(MEMBERS)),
        network=NetworkPlan(delay_low=4 * MILLISECOND, delay_high=9 * MILLISECOND),
        disk=DiskPlan(sync_low=200, sync_high=1_000),
        config=ReplicaConfig(),
        faults_until=seconds * SECOND,
        ops=tuple(Submit(at=at * SECOND, node=at % MEMBERS, count=commands) for at in range(2, seconds)),
    )


def main() -> None:
    """Run it a few times, print two figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=120, help="simulated seconds of a run")
    parser.add_argument("--commands", type=int, default=1, help="commands a second")
    options = parser.parse_args()
    rates = []
    for _ in range(RUNS):
        world = World(plan(options.seconds, options.commands))
        began = time.process_time()
        report = world.run()
        rates.append(report.simulated / SECOND / (time.process_time() - began))
    print(f"{MEMBERS} members, {report.positions} commands final, {report.datagrams:,} datagrams")
    best, middle = max(rates), statistics.median(rates)
    print(f"simulated seconds per second of one core: {best:.0f} at best, {middle:.0f} in the middle")


if __name__ == "__main__":
    main()
