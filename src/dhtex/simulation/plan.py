"""What happens in one run, as data: everything a seed decides before the first event.

A plan can be printed, compared and cut down (`shrink`); `World` carries it out. All times are integer
microseconds of true time since the start of the run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dhtex.replication import ReplicaConfig

MILLISECOND = 1_000
SECOND = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlan:
    """How every link behaves; rates are probabilities per datagram."""

    delay_low: int
    delay_high: int
    """One-way delay, uniform between the two, so neighbours overtake each other."""
    tail_rate: float = 0.0
    tail: int = 0
    """Some datagrams take up to this much longer."""
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    """Bits flip. What still decodes and is protected by signatures is delivered, as by a hostile relay."""

    def farther(self, by: int) -> NetworkPlan:
        """The same, with every way longer by *by*."""
        return replace(self, delay_low=self.delay_low + by, delay_high=self.delay_high + by)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPlan:
    """How every disk behaves."""

    sync_low: int
    sync_high: int
    stall_rate: float = 0.0
    stall: int = 0
    """Some syncs take up to this much longer."""
    survives: float = 0.0
    """How often a crash keeps (a torn piece of) what was written and not synced, instead of nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """One peer."""

    name: str
    boot_at: int
    observer: bool = False
    skew: int = 0
    """Its wall clock minus true time at the start."""
    drift_ppm: int = 0
    """How many millionths its clocks run too fast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """Something that happens at a time."""

    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit(Op):
    """A peer submits *count* commands in one call."""

    node: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash(Op):
    """A process dies at once, and is started again after *lasts*."""

    node: int
    lasts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Blackout(Op):
    """Every process dies at the same instant: each disk is rolled back to what was synced."""

    lasts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wipe(Op):
    """A process dies and its disk with it; it is started again after *lasts* with an empty one."""

    node: int
    lasts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Op):
    """A process stands still (SIGSTOP), its clocks do not."""

    node: int
    lasts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepClock(Op):
    """A wall clock is set forward or back by *delta*."""

    node: int
    delta: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut(Op):
    """Datagrams of the *links* (from, to) are lost for *lasts*: a split, a partial or a one-way partition."""

    lasts: int
    links: frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow(Op):
    """A disk takes *extra* longer for every sync, for *lasts*."""

    node: int
    lasts: int
    extra: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Full(Op):
    """A disk takes nothing more for *lasts*."""

    node: int
    lasts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave(Op):
    """A peer leaves the group in order."""

    node: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejoin(Op):
    """A peer that left is started again with the journal it had."""

    node: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Divide(Op):
    """A member begins to lie: it signs two entries for every place in its log and divides them among the others.

    Not drawn by `draw_plan`: crashes, partitions and a liar at the same moment are more than the protocol promises to
    bear.
    """

    node: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run.

    Attributes:
        seed: gives the keys and, with *salt*, every chance event of the run.
        salt: other chance events under the same plan; used by `shrink`.
        config: of every replica.
        discovery_misses: how often a look-up does not find an announcement that is there.
        real_keys: Ed25519 instead of a keyed hash.
        exchange: the matching engine instead of a hash chain.
        faults_until: from here on the network, the disks and the clocks are well.
        core_only: a minority stays down after that; otherwise every peer comes back.
        far: every way takes so much longer, also after the faults.
    """

    seed: int
    salt: int = 0
    nodes: tuple[NodePlan, ...]
    network: NetworkPlan
    disk: DiskPlan
    config: ReplicaConfig
    discovery_misses: float = 0.0
    real_keys: bool = False
    exchange: bool = False
    faults_until: int
    core_only: bool = False
    far: int = 0
    ops: tuple[Op, ...]
