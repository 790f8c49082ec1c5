"""What is measured, and how figures of several processes become one row."""

from __future__ import annotations

import os
import socket
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LATENCIES_KEPT = 20_000
"""Latencies of one process that are sent on: enough for a p99, small enough for a pipe."""


class Missing(Exception):
    """A rival is not installed; the sentence says what to install."""


@dataclass(frozen=True, slots=True)
class Load:
    """How commands are submitted.

    Attributes:
        seconds: how long.
        submitters: how many of the members submit.
        in_flight: commands submitted and not final, at each submitter.
        run: commands submitted together.
    """

    seconds: float
    submitters: int
    in_flight: int
    run: int


@dataclass(frozen=True, slots=True)
class Share:
    """What one submitter did: when it started, commands that became final, its latencies in seconds."""

    start: float
    commands: int
    latencies: Sequence[float]


@dataclass(frozen=True, slots=True)
class Figures:
    """One row.

    Attributes:
        name, load: what was measured.
        commands: final on every member.
        seconds: from the first submission until the last member had the last command.
        p50, p99: seconds from submission to the submitter's knowledge that it is final.
        cpu: seconds of all processes, clients of servers included.
        octets: sent by all members, headers of IP, UDP or TCP included; None where they cannot be counted.
    """

    name: str
    load: Load
    commands: int
    seconds: float
    p50: float
    p99: float
    cpu: float
    octets: int | None

    @property
    def rate(self) -> float:
        """Final commands a second."""
        return self.commands / self.seconds


def row(
    name: str, load: Load, shares: Sequence[Share], end: float, cpu: float, octets: int | None
) -> Figures:
    """The figures of one measurement that ended at monotonic *end*."""
    latencies = sorted(latency for share in shares for latency in share.latencies)
    return Figures(
        name=name,
        load=load,
        commands=sum(share.commands for share in shares),
        seconds=end - min(share.start for share in shares),
        p50=statistics.median(latencies),
        p99=latencies[len(latencies) * 99 // 100],
        cpu=cpu,
        octets=octets,
    )


def thinned(latencies: Sequence[float]) -> list[float]:
    """At most `LATENCIES_KEPT` of them, evenly."""
    return list(latencies[:: len(latencies) // LATENCIES_KEPT + 1])


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far. Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def loopback_octets() -> int | None:
    """What has gone over the loopback so far, headers included, of whomever: of use on a quiet machine. Linux only."""
    try:
        lines = Path("/proc/net/dev").read_text().splitlines()
    except OSError:
        return None
    sent = [
        fields.split()[8]
        for name, _, fields in (line.partition(":") for line in lines)
        if name.strip() == "lo"
    ]
    return int(sent[0]) if sent else None


def octets_since(before: int | None) -> int | None:
    """How much that was, since *before*."""
    now = loopback_octets()
    return None if before is None or now is None else now - before


def free_ports(count: int) -> list[int]:
    """TCP ports on loopback that nobody has at the moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
