"""Virtual time: one heap of events, one source of chance, and all that happens to the peers of a plan."""

from __future__ import annotations

import heapq
import random
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from dhtex.identity import Identity, Signer
from dhtex.replication import Replica, StateMachine, View
from dhtex.replication.records import Record
from dhtex.simulation.board import Board
from dhtex.simulation.checks import BoundsChecker, DurabilityChecker, HistoryChecker, Violation, WireChecker
from dhtex.simulation.disk import Disk
from dhtex.simulation.faults import Faults
from dhtex.simulation.keys import KeyedSigner
from dhtex.simulation.network import Codec, Network
from dhtex.simulation.plan import Plan
from dhtex.simulation.process import Process
from dhtex.simulation.recovery import Recovery
from dhtex.simulation.timepieces import Timepiece
from dhtex.simulation.trace import Trace
from dhtex.simulation.workload import make_workload


@dataclass(frozen=True, slots=True)
class Report:
    """What a run without a violation amounted to.

    Attributes:
        simulated: microseconds of virtual time.
        positions: final commands.
        views: views installed.
        events: steps of the event loop.
        datagrams: sent.
        datagrams_most: the most one peer sent within a second.
        settled_after: microseconds from the end of the faults until everything was final.
        probe: microseconds from a submission in the settled group until it was final everywhere.
    """

    simulated: int
    positions: int
    views: int
    events: int
    datagrams: int
    datagrams_most: int
    settled_after: int
    probe: int


class World:
    """One run of one plan.

    Attributes:
        now: true time, microseconds since the start.
        rng: decides everything that the plan left open.
        trace: what happened, if somebody asked.
        liars: node ids of members that lie; nothing is demanded of them, and nothing they say is checked.
    """

    def __init__(self, plan: Plan, *, replica_class: type[Replica] | None = None) -> None:
        """The world before its first event.

        Args:
            replica_class: what runs when it is not the real one, such as a broken one that must be caught.
        """
        self.plan = plan
        self.now = 0
        self.rng = random.Random(plan.seed * 1_000_003 + plan.salt)
        self.replica_class = replica_class or Replica
        self.codec = Codec()
        self.workload = make_workload(self.rng, plan.exchange)
        self.liars: set[bytes] = set()
        self.durability = DurabilityChecker(self._lies)
        self.wire = WireChecker(self._place_of, self._lies)
        self.bounds = BoundsChecker()
        self.history = HistoryChecker(
            self.workload.make_machine,
            self.durability.final,
            1 if not plan.discovery_misses else len(plan.nodes),
        )
        self.network = Network(plan.network.farther(plan.far), self.rng, self.schedule, self._deliver)
        self.board = Board(self.rng, plan.discovery_misses)
        self.events = 0
        self._heap: list[tuple[int, int, Callable[[Any], None], Any]] = []
        self._order = 0
        signers = [self._signer(index) for index in range(len(plan.nodes))]
        self.index_of = {signer.public_key: index for index, signer in enumerate(signers)}
        self.trace: Trace | None = None
        self.processes = [self._process(index, signer) for index, signer in enumerate(signers)]
        self._views: dict[bytes, View] = {}
        self._lineages: dict[bytes, bytes] = {}
        self._numbered: dict[tuple[bytes, int], View] = {}

    def _signer(self, index: int) -> Signer:
        seed = b"%d %d" % (self.plan.seed, index)
        if self.plan.real_keys:
            return Identity(seed.ljust(32, b"\x00")[:32])
        return KeyedSigner(seed)

    def _process(self, index: int, signer: Signer) -> Process:
        node = self.plan.nodes[index]
        timepiece = Timepiece(node.skew, node.drift_ppm, origin=self.rng.randrange(1 << 40))
        node_id = signer.node_id

        def durable(records: tuple[Record, ...]) -> None:
            self.durability.durable(node_id, records)

        disk = Disk(self.plan.disk, self.rng, lambda: self.now, self.after, durable)
        return Process(self, index, plan=node, signer=signer, timepiece=timepiece, disk=disk)

    # -- time ------------------------------------------------------------------------------------------------

    def schedule(self, delay: int, call: Callable[[Any], None], argument: Any) -> None:
        """Call *call* with *argument* after *delay* microseconds."""
        self._order += 1
        heapq.heappush(self._heap, (self.now + delay, self._order, call, argument))

    def after(self, delay: int, call: Callable[[], None]) -> None:
        """Call *call* after *delay* microseconds."""
        self.schedule(delay, _without_argument, call)

    def run_until(self, end: int) -> None:
        """Let everything happen that happens before *end*."""
        heap, pop, events = self._heap, heapq.heappop, 0
        while heap and heap[0][0] < end:
            self.now, _, call, argument = pop(heap)
            events += 1
            call(argument)
        self.events += events
        self.now = end

    def run(self) -> Report:
        """The whole plan: faults, then recovery.

        Raises:
            Violation: a rule was broken, or the replica raised something.
        """
        try:
            return self._run()
        except Violation:
            raise
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise Violation(
                "exception",
                f"{type(error).__name__}: {error} ({where.filename.rpartition('dhtex/')[2]}:{where.lineno})",
            ) from error

    def _run(self) -> Report:
        plan = self.plan
        for process in self.processes:
            self.schedule(process.plan.boot_at, _start, process)
        faults = Faults(self)
        for op in plan.ops:
            if op.at < plan.faults_until:
                self.schedule(op.at, faults.happen, op)
        self.run_until(plan.faults_until)
        self.weigh(self.processes)  # while most is pending, or kept for those who are away
        settled_after, probe = Recovery(self, faults.clock_lead).run()
        return Report(
            simulated=self.now,
            positions=sum(group.positions for group in self.history.groups),
            views=len(self._views),
            events=self.events,
            datagrams=self.bounds.datagrams,
            datagrams_most=self.bounds.most,
            settled_after=settled_after,
            probe=probe,
        )

    def start_trace(self, moments_max: int, messages: bool) -> None:
        """Keep the last moments for a timeline; *messages* asks for every datagram, too."""
        names: dict[bytes, str] = {process.node_id: process.name for process in self.processes}
        self.trace = Trace(names, moments_max, messages)

    def weigh(self, processes: Iterable[Process]) -> None:
        """Demand of those that are up that they hold no more than their share of memory."""
        for process in processes:
            if process.replica is not None:
                BoundsChecker.weigh(process.name, process.replica, self.history.commands_submitted)

    # -- what peers report -----------------------------------------------------------------------------------

    def note(self, name: str, text: str) -> None:
        """For the timeline."""
        if self.trace is not None:
            self.trace.note(self.now, name, text)

    def make_machine(self) -> StateMachine:
        """A machine for a starting replica."""
        return self.workload.make_machine()

    def view_installed(self, name: str, view: View) -> None:
        """A process installed a view."""
        self.history.installed(name, view)
        if view.id not in self._views:
            lineage = view.id if view.number == 1 else self._lineages[view.parent]
            self._views[view.id] = view
            self._lineages[view.id] = lineage
            self._numbered[lineage, view.number] = view
        self.durability.decided(name, view, self._views.get(view.parent))

    def _place_of(self, lineage: bytes, number: int, node_id: bytes) -> int | None:
        view = self._numbered.get((lineage, number))
        return None if view is None else view.index.get(node_id)

    def _lies(self, node_id: bytes) -> bool:
        return node_id in self.liars

    def _deliver(self, target: int, source: int, messages: list[Any]) -> None:
        self.processes[target].receive(source, messages)


def _without_argument(call: Callable[[], None]) -> None:
    call()


def _start(process: Process) -> None:
    process.start()
